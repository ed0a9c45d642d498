/*
 * fuzz_modelfile: a Modelfile that somebody wrote, or anything else. Either it is refused with a
 * reason, or all of it is text that becomes JSON without loss.
 */
#include "base/check.h"
#include "store/modelfile.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
    json_t *value = text == NULL ? NULL : json_string(text); /* NULL: it is not UTF-8 */
    CHECK(text == NULL || (value != NULL && strcmp(json_string_value(value), text) == 0));
    json_decref(value);
}

static void check_json(const json_t *value)
{
    struct buf out;
    buf_init(&out, MODELFILE_BYTES_MAX * 8);
    CHECK(value != NULL && json_write(value, &out));
    json_t *back = json_parse(buf_str(&out), 8, NULL);
    CHECK(back != NULL);
    json_decref(back);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct modelfile m;
    struct err err = {0};
    if (modelfile_parse((struct str){(const char *)data, size}, &m, &err) != 0) {
        CHECK(err.code != 0 && err.text[0] != '\0');
        return 0;
    }
    CHECK(m.n_from >= 1 && m.n_from <= MODELFILE_LIST_MAX && m.n_license <= MODELFILE_LIST_MAX);
    for (int i = 0; i < m.n_from; i++)
        CHECK(m.from[i] != NULL);
    for (int i = 0; i < m.n_license; i++)
        check_text(m.license[i]);
    check_text(m.template_text);
    check_text(m.system_text);
    check_json(m.parameters);
    check_json(m.messages);
    modelfile_release(&m);
    return 0;
}
