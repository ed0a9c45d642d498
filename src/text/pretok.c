/*
 * pretok: see pretok.h.
 *
 * Owns the table from the names that GGUF files use to stages. Must not know tokens.
 * Each stage carries its regular expression, in PCRE2's spelling, as models state it in their
 * tokenizer.json: the documentation of the hand-written scanner and the oracle of its test.
 */
#include "text/pretok.h"

#include "base/mem.h"
#include "text/pretok_scan.h"
#include "text/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define N_STAGES_MAX 6
/* Of one match of a pattern: enough for a run of millions of characters, and bounded. */
#define STEPS_PER_MATCH_MAX 50000000
#define HEAP_KIB_MAX        (512 * 1024)

/* clang-format off */
#define P_CONTRACT "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define P_SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define P_GPT2                                                                                     \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define P_WORD(number)                                                                             \
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" P_SPACES
#define P_CASED_1                                                                                  \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
#define P_CASED_2                                                                                  \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
#define P_CASED_REST " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" P_SPACES
#define P_DEEPSEEK3                                                                                \
    "[!-\\/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"                     \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|" P_SPACES

/* Letters of the alphabets that have case, as DeepSeek LLM lists them. */
static const struct cp_range cased_letters[] = {
    {0x41, 0x5A}, {0x61, 0x7A}, {0xB5, 0xB5}, {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x1BA},
    {0x1BC, 0x1BF}, {0x1C4, 0x293}, {0x295, 0x2AF}, {0x370, 0x373}, {0x376, 0x376},
    {0x377, 0x377}, {0x37B, 0x37D}, {0x37F, 0x37F}, {0x386, 0x386}, {0x388, 0x38A},
    {0x38C, 0x38C}, {0x38E, 0x3A1}, {0x3A3, 0x3F5}, {0x3F7, 0x481}, {0x48A, 0x52F},
    {0x531, 0x556}, {0x10A0, 0x10C5}, {0x13A0, 0x13F5}, {0x13F8, 0x13FD}, {0x1C90, 0x1CBA},
    {0x1CBD, 0x1CBF}, {0x1D00, 0x1D2B}, {0x1D6B, 0x1D77}, {0x1D79, 0x1D9A}, {0x1E00, 0x1F15},
    {0x1F18, 0x1F1D}, {0x1F20, 0x1F45}, {0x1F48, 0x1F4D}, {0x1F50, 0x1F57}, {0x1F59, 0x1F59},
    {0x1F5B, 0x1F5B}, {0x1F5D, 0x1F5D}, {0x1F5F, 0x1F7D}, {0x1F80, 0x1FB4}, {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE}, {0x1FC2, 0x1FC4}, {0x1FC6, 0x1FCC}, {0x1FD0, 0x1FD3}, {0x1FD6, 0x1FDB},
    {0x1FE0, 0x1FEC}, {0x1FF2, 0x1FF4}, {0x1FF6, 0x1FFC}, {0x2102, 0x2102}, {0x2107, 0x2107},
    {0x210A, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211D}, {0x2124, 0x2124}, {0x2126, 0x2126},
    {0x2128, 0x2128}, {0x212A, 0x212D}, {0x212F, 0x2134}, {0x2139, 0x2139}, {0x213C, 0x213F},
    {0x2145, 0x2149}, {0x214E, 0x214E}, {0x2183, 0x2183}, {0x2184, 0x2184}, {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4}, {0x2CEB, 0x2CEE}, {0x2CF2, 0x2CF2}, {0x2CF3, 0x2CF3}, {0xA640, 0xA66D},
    {0xA680, 0xA69B}, {0xA722, 0xA76F}, {0xA771, 0xA787}, {0xA78B, 0xA78E}, {0xAB70, 0xABBF},
    {0xFB00, 0xFB06}, {0xFB13, 0xFB17}, {0xFF21, 0xFF3A}, {0xFF41, 0xFF5A}, {0x10400, 0x1044F},
    {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2},
    {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
#define P_CASED_LETTERS                                                                            \
    "\\x{41}-\\x{5a}\\x{61}-\\x{7a}\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}" \
    "\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}" \
    "\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}" \
    "\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}" \
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}" \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}" \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}" \
    "\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}" \
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}" \
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}" \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}" \
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}" \
    "\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}" \
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}" \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}" \
    "\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}" \
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}" \
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
static const struct cp_range deepseek_punct[] = {
    {'!', '/'}, {':', '~'}, {0x2018, 0x201F}, {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E},
};
static const struct cp_range deepseek_cjk[] = {{0x800, 0x9FA5}, {0xAC00, 0xD7FF}};
static const struct cp_range han_kana[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
static const struct cp_range ascii_digits[] = {{'0', '9'}};
static const struct cp_range newlines[] = {{'\n', '\n'}, {'\r', '\r'}};
static const struct cp_range falcon_symbols[] = {
    {'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'`', '`'}, {'|', '|'}, {'~', '~'},
};
static const struct cp_range default_symbols[] = {
    {'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'|', '|'}, {'~', '~'},
};
/* Unicode 17 numbers that "Digits" of the reference knows and its regular expressions do not. */
static const struct cp_range new_digits[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};

#define RANGES(a) .range = (a), .n_range = ARRAY_LEN(a)

static const struct stage gpt2 = {.kind = SCAN_GPT2, .pattern = P_GPT2};
/* Digits(individual_digits): each number character alone */
static const struct stage digits = {
    .kind = SCAN_RUN, .run_flags = UC_NUMBER, .n_digits_max = 1, RANGES(new_digits),
    .pattern = "[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]"};
static const struct stage numbers = {
    .kind = SCAN_RUN, .run_flags = UC_NUMBER, .pattern = "\\p{N}+"};
static const struct stage numbers3 = {
    .kind = SCAN_RUN, .run_flags = UC_NUMBER, .n_digits_max = 3, .pattern = "\\p{N}{1,3}"};
static const struct stage three_digits = {
    .kind = SCAN_RUN, RANGES(ascii_digits), .n_digits_max = 3, .n_min = 3,
    .pattern = "[0-9][0-9][0-9]"};
static const struct stage falcon_punct = {
    .kind = SCAN_RUN, .run_flags = UC_PUNCT, RANGES(falcon_symbols),
    .pattern = "[\\p{P}\\$\\+<=>\\^~\\|`]+"};
static const struct stage default_punct = {
    .kind = SCAN_RUN, .run_flags = UC_PUNCT, RANGES(default_symbols),
    .pattern = "[\\p{P}\\$\\+<=>\\^~\\|]+"};
static const struct stage newline_each = {
    .kind = SCAN_RUN, RANGES(newlines), .n_digits_max = 1, .pattern = "[\\r\\n]"};
static const struct stage ds_letters = {
    .kind = SCAN_RUN, .lead_space = true, RANGES(cased_letters),
    .pattern = "\\s?[" P_CASED_LETTERS "]+"};
static const struct stage ds_punct = {
    .kind = SCAN_RUN, .lead_space = true, RANGES(deepseek_punct),
    .pattern =
        "\\s?[!-\\/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+"};
static const struct stage ds_tail = {.kind = SCAN_TAIL, .pattern = "\\s+\\z"};
static const struct stage ds_cjk = {
    .kind = SCAN_RUN, RANGES(deepseek_cjk),
    .pattern = "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"};
static const struct stage coder_letters = {
    .kind = SCAN_RUN, .run_flags = UC_LETTER, .lead_space = true, .pattern = "\\s?\\p{L}+"};
static const struct stage coder_punct = {
    .kind = SCAN_RUN, .run_flags = UC_PUNCT, .lead_space = true, .pattern = "\\s?\\p{P}+"};
static const struct stage ds3_cjk = {
    .kind = SCAN_RUN, RANGES(han_kana),
    .pattern = "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"};
static const struct stage ds3 = {.kind = SCAN_DEEPSEEK3, .pattern = P_DEEPSEEK3};
static const struct stage llama3 = {
    .kind = SCAN_WORD, .contractions = true, .n_digits_max = 3,
    .pattern = P_CONTRACT "|" P_WORD("\\p{N}{1,3}")};
static const struct stage qwen2 = {
    .kind = SCAN_WORD, .contractions = true, .n_digits_max = 1,
    .pattern = P_CONTRACT "|" P_WORD("\\p{N}")};
static const struct stage qwen35 = {
    .kind = SCAN_WORD, .contractions = true, .n_digits_max = 1, .marks = true,
    .pattern = P_CONTRACT "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
                          " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" P_SPACES};
static const struct stage minicpm5 = {
    .kind = SCAN_WORD, .contractions = true, .pattern = P_CONTRACT "|" P_WORD("\\p{N}+")};
static const struct stage seed_coder = {
    .kind = SCAN_WORD, .contractions = true, .n_digits_max = 1, .no_tail = true,
    .pattern = P_CONTRACT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|"
               P_SPACES};
static const struct stage no_contractions = {
    .kind = SCAN_WORD, .n_digits_max = 1, .pattern = P_WORD("\\p{N}")};
static const struct stage gpt4o = {
    .kind = SCAN_CASED, .contractions = true, .n_digits_max = 3, .tail_slash = true,
    .pattern = P_CASED_1 P_CONTRACT "?|" P_CASED_2 P_CONTRACT "?|\\p{N}{1,3}|" P_CASED_REST};
static const struct stage tekken = {
    .kind = SCAN_CASED, .n_digits_max = 1, .tail_slash = true,
    .pattern = P_CASED_1 "|" P_CASED_2 "|\\p{N}|" P_CASED_REST};
static const struct stage groups_bounded = {
    .kind = SCAN_GROUPS, .group_flags = GROUP_BOUNDARY,
    .pattern = "\\p{Nd}{1,3}(?=(?:\\p{Nd}{3})*+(?![\\p{L}\\p{N}\\p{M}_]))"};
static const struct stage groups = {
    .kind = SCAN_GROUPS, .group_flags = GROUP_ALL_NUMBERS,
    .pattern = "\\p{N}{1,3}(?=(?:\\p{N}{3})*+(?!\\p{N}))"};
static const struct stage lines = {.kind = SCAN_LINES, .pattern = "[^\\n]+|[\\n]+"};

static const struct stage spark = {
    .kind = SCAN_PATTERN,
    .pattern = "[!-\\/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
               " ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+"};
static const struct stage youtu_cjk = {
    .kind = SCAN_PATTERN,
    .pattern = "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|"
               "[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}"
               "\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|"
               "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"};
static const struct stage youtu = {
    .kind = SCAN_CASED, .contractions = true, .n_digits_max = 1, .tail_slash = true,
    .pattern = P_CASED_1 P_CONTRACT "?|" P_CASED_2 P_CONTRACT "?|\\p{N}|" P_CASED_REST};
static const struct stage bloom = {
    .kind = SCAN_PATTERN,
    .pattern = " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"};
static const struct stage exaone_moe = {
    .kind = SCAN_PATTERN,
    .pattern = P_CONTRACT "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}|"
               " ?[^\\s\\p{L}\\p{N}]+[\\r\\n\\/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"};
static const struct stage sentinels = {
    .kind = SCAN_PATTERN, .pattern = "<sentinel:[0-9]+>|IMGIMG[A-I]{1,4}Z"};
static const struct stage wide_spaces = {.kind = SCAN_PATTERN, .pattern = "[\\t\\n]|    |  "};
static const struct stage punct_each = {
    .kind = SCAN_PATTERN, .pattern = "[\\p{P}!-\\/:-@\\[-`{-~]"};
static const struct stage kimi = {
    .kind = SCAN_PATTERN,
    .pattern = "\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?(?:(?!\\p{Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])*"
               "(?:(?!\\p{Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])+" P_CONTRACT "?|"
               "[^\\r\\n\\p{L}\\p{N}]?(?:(?!\\p{Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])+"
               "(?:(?!\\p{Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])*" P_CONTRACT "?|"
               "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" P_SPACES};
static const struct stage afmoe_cjk = {
    .kind = SCAN_PATTERN,
    .pattern = "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{30ff}"
               "\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e00}-\\x{e7f}\\x{e80}-\\x{eff}"
               "\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}"
               "\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+"};

#define STAGES(...) {__VA_ARGS__}
struct pretok_row {
    const char *names; /* separated by spaces */
    unsigned flags;
    const struct stage *stages[N_STAGES_MAX]; /* in order; the rest NULL */
};

static const struct pretok_row rows[] = {
    {"default", 0, STAGES(&default_punct, &gpt2, &numbers, &three_digits)},
    {"gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum exaone4 jais "
     "trillion granite-docling", 0, STAGES(&gpt2)},
    {"olmo mpt modern-bert", PRETOK_NFC, STAGES(&gpt2)},
    {"jina-v1-en jina-v2-code roberta-bpe", PRETOK_ADD_SEP, STAGES(&gpt2)},
    {"smollm starcoder refact codeshell exaone minerva-7b mellum2", 0, STAGES(&digits, &gpt2)},
    {"command-r", PRETOK_NFC, STAGES(&digits, &gpt2)},
    {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     PRETOK_IGNORE_MERGES | PRETOK_ADD_BOS, STAGES(&llama3)},
    {"dbrx smaug-bpe glm4 chatglm-bpe", 0, STAGES(&llama3)},
    {"qwen2 deepseek-r1-qwen", PRETOK_NFC, STAGES(&qwen2)},
    {"stablelm2 megrez kormo f2llmv2 hunyuan solar-open bailingmoe bailingmoe2 llada-moe grok-2", 0,
     STAGES(&qwen2)},
    {"qwen35", PRETOK_NFC, STAGES(&qwen35)},
    {"seed-coder", 0, STAGES(&seed_coder)},
    {"ufakzeka", 0, STAGES(&no_contractions)},
    {"minicpm5", PRETOK_IGNORE_MERGES, STAGES(&numbers3, &minicpm5)},
    {"laguna", 0, STAGES(&lines, &qwen2)},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", 0, STAGES(&gpt4o)},
    {"granite-embed-multi-97m", PRETOK_IGNORE_MERGES, STAGES(&gpt4o)},
    {"tekken", PRETOK_IGNORE_MERGES | PRETOK_ADD_BOS, STAGES(&tekken)},
    {"tiny_aya cohere2moe", 0, STAGES(&groups_bounded, &gpt4o)},
    {"deepseek-llm", 0,
     STAGES(&newline_each, &ds_letters, &ds_punct, &ds_tail, &ds_cjk, &digits)},
    {"deepseek-coder", 0, STAGES(&newline_each, &coder_letters, &coder_punct, &ds_cjk, &digits)},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", 0, STAGES(&numbers3, &ds3_cjk, &ds3)},
    {"falcon", 0, STAGES(&falcon_punct, &gpt2, &three_digits)},
    {"superbpe", 0, STAGES(&numbers, &groups)},
    {"afmoe", 0, STAGES(&groups, &afmoe_cjk, &ds3)},
    {"spark2_5", 0, STAGES(&numbers3, &ds3_cjk, &spark, &digits)},
    {"youtu", PRETOK_IGNORE_MERGES, STAGES(&youtu_cjk, &youtu)},
    {"poro-chat bloom gpt3-finnish", 0, STAGES(&bloom)},
    {"viking", 0, STAGES(&bloom, &digits)},
    {"exaone-moe", 0, STAGES(&exaone_moe)},
    {"chameleon", PRETOK_ADD_BOS,
     STAGES(&sentinels, &wide_spaces, &digits, &punct_each, &gpt2)},
    {"kimi-k2", 0, STAGES(&kimi)},
    {"gemma4 granite-embed-multi-311m", PRETOK_RAW, STAGES(&lines)},
};
/* clang-format on */

struct pretok {
    const struct pretok_row *row;
    size_t n_stages;
    pcre2_code *code[N_STAGES_MAX]; /* of the SCAN_PATTERN stages */
};

static bool names_have(const char *names, struct str name)
{
    struct str rest = str_z(names), part;
    while (str_split(&rest, ' ', &part)) {
        if (str_eq(part, name))
            return true;
    }
    return false;
}

const char *pretok_name_at(size_t i)
{
    return i < ARRAY_LEN(rows) ? rows[i].names : NULL;
}

static int compile_stage(struct pretok *p, size_t i, struct err *err)
{
    int code;
    PCRE2_SIZE offset;
    const char *pattern = p->row->stages[i]->pattern;
    p->code[i] = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                               &code, &offset, NULL);
    if (!p->code[i])
        return err_set(err, ERR_INTERNAL, "pre-tokenizer pattern %s: error %d at %zu", pattern,
                       code, (size_t)offset);
    return 0;
}

int pretok_new(struct str name, struct pretok **ret, struct err *err)
{
    const struct pretok_row *row = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows) && !row; i++) {
        if (names_have(rows[i].names, name))
            row = &rows[i];
    }
    if (!row || name.len == 0)
        return err_set(err, ERR_UNSUPPORTED, "tokenizer.ggml.pre: pre-tokenizer '%.*s' is unknown",
                       STR_ARG(str_sub(name, 0, 64)));
    unicode_init();
    struct pretok *p = mem_zero(1, sizeof(*p));
    p->row = row;
    for (size_t i = 0; i < N_STAGES_MAX && row->stages[i]; i++) {
        p->n_stages++;
        if (row->stages[i]->kind != SCAN_PATTERN)
            continue;
        int rc = compile_stage(p, i, err);
        if (rc != 0) {
            pretok_free(p);
            return rc;
        }
    }
    *ret = p;
    return 0;
}

void pretok_free(struct pretok *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < N_STAGES_MAX; i++)
        pcre2_code_free(p->code[i]);
    free(p);
}

unsigned pretok_flags(const struct pretok *p)
{
    return p->row->flags;
}

const char *pretok_pattern(const struct pretok *p, size_t i_stage)
{
    return i_stage < p->n_stages ? p->row->stages[i_stage]->pattern : NULL;
}

/* One call of pretok_split. */
struct split {
    const struct pretok *p;
    pretok_word_fn word;
    void *ctx;
    const uint8_t *text;     /* the whole */
    const uint8_t *clean;    /* the same, valid UTF-8: what patterns see */
    pcre2_match_data *match; /* NULL when no stage needs it */
    pcre2_match_context *limits;
    struct err *err;
};

/* 1 found, 0 not, negative ERR_*. */
static int find_pattern(struct split *sp, size_t i, struct piece piece, size_t pos,
                        struct match *ret)
{
    const uint8_t *s = sp->clean + (piece.s - sp->text);
    while (pos < piece.len) {
        int rc = pcre2_match(sp->p->code[i], s, piece.len, pos, PCRE2_NO_UTF_CHECK, sp->match,
                             sp->limits);
        if (rc == PCRE2_ERROR_NOMATCH)
            return 0;
        if (rc < 0)
            return err_set(sp->err, ERR_LIMIT,
                           "the text is too hard for this model's pre-tokenizer (PCRE2 error %d)",
                           rc);
        const PCRE2_SIZE *o = pcre2_get_ovector_pointer(sp->match);
        if (o[1] > o[0]) {
            *ret = (struct match){o[0], o[1]};
            return 1;
        }
        pos = o[1] + 1;
    }
    return 0;
}

/* Depth: the number of stages, a constant of the table. */
static int split_stage(struct split *sp, size_t i, struct piece piece)
{
    if (i == sp->p->n_stages)
        return sp->word(sp->ctx, piece.s, piece.len);
    const struct stage *st = sp->p->row->stages[i];
    size_t done = 0;
    while (done < piece.len) {
        struct match m;
        int rc = st->kind == SCAN_PATTERN ? find_pattern(sp, i, piece, done, &m)
                                          : stage_find(st, piece, done, &m);
        if (rc < 0)
            return rc;
        if (rc == 0)
            m = (struct match){piece.len, piece.len};
        if (m.from > done) {
            rc = split_stage(sp, i + 1, (struct piece){piece.s + done, m.from - done});
            if (rc < 0)
                return rc;
        }
        if (m.to > m.from) {
            rc = split_stage(sp, i + 1, (struct piece){piece.s + m.from, m.to - m.from});
            if (rc < 0)
                return rc;
        }
        done = m.to;
    }
    return 0;
}

/* A copy of the text with a control character for each invalid byte; NULL: out of memory. */
static uint8_t *clean_copy(struct str text)
{
    uint8_t *s = mem_try_array(text.len, 1);
    for (size_t i = 0, n; s && i < text.len; i += n) {
        uint32_t cp;
        n = unicode_decode((const uint8_t *)text.ptr + i, text.len - i, &cp);
        if (cp == UNICODE_BAD)
            s[i] = 0x1A;
        else
            memcpy(s + i, text.ptr + i, n);
    }
    return s;
}

static int split_with_patterns(struct split *sp, struct piece whole)
{
    uint8_t *clean = clean_copy((struct str){(const char *)whole.s, whole.len});
    sp->clean = clean;
    sp->match = pcre2_match_data_create(1, NULL);
    sp->limits = pcre2_match_context_create(NULL);
    int rc;
    if (!clean || !sp->match || !sp->limits) {
        rc = err_set(sp->err, ERR_NOMEM, "out of memory while tokenizing");
    } else {
        pcre2_set_match_limit(sp->limits, STEPS_PER_MATCH_MAX);
        pcre2_set_heap_limit(sp->limits, HEAP_KIB_MAX);
        rc = split_stage(sp, 0, whole);
    }
    pcre2_match_data_free(sp->match);
    pcre2_match_context_free(sp->limits);
    free(clean);
    return rc;
}

int pretok_split(const struct pretok *p, struct str text, pretok_word_fn word, void *ctx,
                 struct err *err)
{
    struct split sp = {.p = p, .word = word, .ctx = ctx, .err = err};
    struct piece whole = {(const uint8_t *)text.ptr, text.len};
    sp.text = whole.s;
    for (size_t i = 0; i < p->n_stages; i++) {
        if (p->code[i])
            return split_with_patterns(&sp, whole);
    }
    return split_stage(&sp, 0, whole);
}
