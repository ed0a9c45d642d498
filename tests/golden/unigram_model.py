"""A unigram vocabulary trained here by SentencePiece, with its own rules of normalization, as a GGUF file.

It owns: what the right ids are. Two layouts: T5's, as SentencePiece numbers its pieces, and XLM-RoBERTa's, which
has <s> <pad> </s> <unk> first and <mask> last.
"""

import io

import gguf
import sentencepiece

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
T5, XLMR = "t5", "xlm-r"

# Article 1 of the Universal Declaration of Human Rights.
SENTENCES = """
All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood.
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.
Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.
Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia, deben comportarse fraternalmente los unos con los otros.
Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства.
人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.
يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلًا وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.
Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Mọi con người đều được tạo hóa ban cho lý trí và lương tâm và cần phải đối xử với nhau trong tình bằng hữu.
มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ
Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.
כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה.
""".strip().split("\n")


def train(n_vocab=900, rules="nmt_nfkc", user=()):
    """The trained model, serialized."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3), model_writer=out, vocab_size=n_vocab, model_type="unigram",
        normalization_rule_name=rules, user_defined_symbols=list(user), num_threads=1, character_coverage=0.98,
        minloglevel=2, hard_vocab_limit=False)
    return out.getvalue()


def fields(data):
    """Number and value of each field of a protocol buffer's message."""
    def varint(at):
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    at = 0
    while at < len(data):
        tag, at = varint(at)
        if tag & 7 == 2:
            n, at = varint(at)
            yield tag >> 3, data[at:at + n]
            at += n
        elif tag & 7 == 0:
            value, at = varint(at)
            yield tag >> 3, value
        else:
            at += {5: 4, 1: 8}[tag & 7]


def charsmap(model):
    """ModelProto.normalizer_spec (3), precompiled_charsmap (2)."""
    spec, = (v for n, v in fields(model) if n == 3)
    return b"".join(v for n, v in fields(spec) if n == 2)


def kind(sp, i):
    if sp.is_unknown(i):
        return UNKNOWN
    return CONTROL if sp.is_control(i) else BYTE if sp.is_byte(i) else UNUSED if sp.is_unused(i) else NORMAL


class Unigram:
    def __init__(self, model, layout):
        self.sp = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.charsmap, self.layout = charsmap(model), layout
        pieces = [(self.sp.id_to_piece(i), self.sp.get_score(i), kind(self.sp, i)) for i in range(len(self.sp))]
        if layout == XLMR:  # SentencePiece has <unk> <s> </s> first
            pieces = [("<s>", 0.0, CONTROL), ("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN),
                      *pieces[3:], ("<mask>", 0.0, CONTROL)]
        self.pieces = pieces

    def ids(self, text):
        shift = 1 if self.layout == XLMR else 0
        unknown = 3 if self.layout == XLMR else 0
        return [unknown if i == self.sp.unk_id() else i + shift for i in self.sp.encode(text)]

    def add_to(self, w):
        w.add_tokenizer_model("t5")
        w.add_tokenizer_pre("default")
        w.add_token_list([p[0] for p in self.pieces])
        w.add_token_scores([p[1] for p in self.pieces])
        w.add_token_types([p[2] for p in self.pieces])
        w.add_add_space_prefix(True)
        w.add_remove_extra_whitespaces(True)
        if self.charsmap:
            w.add_precompiled_charsmap(self.charsmap)
        ids = (0, 2, 3) if self.layout == XLMR else (1, 2, 0)
        w.add_bos_token_id(ids[0])
        w.add_eos_token_id(ids[1])
        w.add_unk_token_id(ids[2])
        if self.layout == XLMR:
            w.add_sep_token_id(2)
            w.add_add_bos_token(True)
            w.add_add_eos_token(True)

    def write(self, path):
        w = gguf.GGUFWriter(path, "bert")
        self.add_to(w)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.close()
        return path
