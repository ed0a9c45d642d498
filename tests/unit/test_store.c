/*
 * store: names, manifests, blobs, import, removal; hostile names and manifests.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/manifest.h"
#include "store/model_name.h"
#include "store/store.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/test_store.XXXXXX";

static char *under_root(const char *name)
{
    return fs_join(root, name);
}

static char *write_file(const char *name, const char *text)
{
    char *path = under_root(name);
    assert_int_equal(fs_write_atomic(path, str_z(text), 0644, NULL), 0);
    return path;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static struct store *open_store(void)
{
    struct store *s;
    struct err err = {0};
    char *dir = under_root("models");
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (store_open(dir, &s, &err) != 0)
        fail_msg("%s", err.text);
    free(dir);
    return s;
}

/* ---- names ---- */

static void name_is(const char *typed, const char *text, const char *path)
{
    struct model_name n;
    struct err err = {0};
    char out[MODEL_NAME_TEXT_MAX];
    if (model_name_parse(typed, &n, &err) != 0)
        fail_msg("%s: %s", typed, err.text);
    model_name_text(&n, out);
    assert_string_equal(out, text);
    model_name_path(&n, out);
    assert_string_equal(out, path);
}

static void test_names(void **state)
{
    (void)state;
    name_is("smollm2", "smollm2:latest", "registry.ollama.ai/library/smollm2/latest");
    name_is("llama3.1:8b", "llama3.1:8b", "registry.ollama.ai/library/llama3.1/8b");
    name_is("me/x:Q4", "me/x:Q4", "registry.ollama.ai/me/x/Q4");
    name_is("hf.co/O-w/R.e_p:Q4_K_M", "hf.co/O-w/R.e_p:Q4_K_M", "hf.co/O-w/R.e_p/Q4_K_M");
    name_is("huggingface.co/a/b", "hf.co/a/b:latest", "hf.co/a/b/latest");
    name_is("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b/c");
    name_is("registry.ollama.ai/library/x:y", "x:y", "registry.ollama.ai/library/x/y");
}

static void test_names_refused(void **state)
{
    (void)state;
    char longest[400];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    const char *const bad[] = {
        "",          "..",       "../x",     "a/../b",     "../../etc/passwd:x",
        "a:..",      ":x",       "x:",       "a//b",       "/a",
        "a/b/c/d",   "a b",      "a\\b",     "x:y/z",      "a/.b",
        "a:-x",      "\xc3\xa4", "a\nb",     "x:a:b/",     "%2e",
        "h/n/m:t:u", "..:1/a/b", "x@sha256", "hf.co/a/..", "-x",
        longest,
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct model_name n;
        if (model_name_parse(bad[i], &n, NULL) == 0) {
            char path[MODEL_NAME_TEXT_MAX];
            model_name_path(&n, path);
            if (strcmp(bad[i], "h/n/m:t:u") != 0 || strstr(path, "..") != NULL)
                fail_msg("'%s' was taken as %s", bad[i], path);
        }
    }
    assert_int_equal(model_source_of("x:y"), SOURCE_NAME);
    assert_int_equal(model_source_of("hf.co/a/b-GGUF:Q4"), SOURCE_NAME);
    assert_int_equal(model_source_of("./x"), SOURCE_PATH);
    assert_int_equal(model_source_of("../x:y"), SOURCE_PATH);
    assert_int_equal(model_source_of("x.GGUF"), SOURCE_PATH);
    assert_int_equal(model_source_of("https://h/x.gguf"), SOURCE_URL);
    assert_int_equal(model_source_of("pypi:x"), SOURCE_PYTHON);
}

static void test_names_of_files(void **state)
{
    (void)state;
    static const char *const pair[][2] = {
        {"/a/b/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct:q4_1"},
        {"gemma-3-270m-q4_k_m.gguf", "gemma-3-270m:q4_k_m"},
        {"Some Model (new).gguf", "some-model-new:latest"},
        {"big-Q8_0-00001-of-00004.gguf", "big:q8_0"},
        {"x-f16.gguf", "x:f16"},
        {"qwen2.5-0.5b.gguf", "qwen2.5-0.5b:latest"},
        {"model.IQ2_XXS.gguf", "model:iq2_xxs"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pair); i++) {
        struct model_name n;
        char text[MODEL_NAME_TEXT_MAX];
        assert_int_equal(model_name_of_file(pair[i][0], &n, NULL), 0);
        model_name_text(&n, text);
        assert_string_equal(text, pair[i][1]);
    }
    struct model_name n;
    assert_int_equal(model_name_of_file("....gguf", &n, NULL), ERR_INVALID);
}

/* ---- manifests ---- */

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_manifest(void **state)
{
    (void)state;
    struct manifest m;
    assert_int_equal(
        manifest_parse(STR("{\"config\":{\"mediaType\":\"c\",\"digest\":\"sha256:" HEX64
                           "\",\"size\":2},\"layers\":[{\"mediaType\":\"" MEDIA_MODEL
                           "\",\"digest\":\"sha256:" HEX64 "\",\"size\":70368744177664}]}"),
                       &m, NULL),
        0);
    assert_int_equal(m.n_layer, 1);
    assert_int_equal(m.model_bytes, INT64_C(1) << 46);
    assert_int_equal(m.total_bytes, (INT64_C(1) << 46) + 2);
    assert_true(manifest_names(&m, "sha256:" HEX64));
    struct buf out;
    buf_init(&out, 4096);
    assert_true(manifest_write(&m, &out));
    struct manifest again;
    assert_int_equal(manifest_parse(buf_str(&out), &again, NULL), 0);
    assert_string_equal(again.layer[0].digest, m.layer[0].digest);
    manifest_release(&m);
    manifest_release(&again);
    buf_release(&out);
}

#define LAYER(media, digest, size)                                                                 \
    "{\"layers\":[{\"mediaType\":" media ",\"digest\":" digest ",\"size\":" size "}]}"

static void test_manifest_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"layers\":{}}",
        "{\"layers\":[1]}",
        "{\"layers\":[{}]}",
        LAYER("\"m\"", "\"sha256:../../x\"", "1"),
        LAYER("\"m\"", "\"sha256:" HEX64 "0\"", "1"),
        LAYER("\"m\"", "\"md5:" HEX64 "\"", "1"),
        LAYER("\"m\"",
              "\"sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\"", "1"),
        LAYER("\"m\"", "\"sha256:" HEX64 "\"", "-1"),
        LAYER("\"m\"", "\"sha256:" HEX64 "\"", "70368744177665"),
        LAYER("\"m\"", "\"sha256:" HEX64 "\"", "1e30"),
        LAYER("\"m\"", "\"sha256:" HEX64 "\"", "\"1\""),
        LAYER("1", "\"sha256:" HEX64 "\"", "1"),
        "{\"config\":{\"mediaType\":\"c\",\"digest\":\"x\",\"size\":2},\"layers\":[]}",
        "[[[[[[[[[[[[[[[[[[[[",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct manifest m;
        struct err err = {0};
        if (manifest_parse(str_z(bad[i]), &m, &err) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_true(err.text[0] != '\0');
    }
}

/* ---- blobs ---- */

static void test_blob_resume(void **state)
{
    (void)state;
    struct store *s = open_store();
    const char *dir = store_blobs_dir(s);
    char want[DIGEST_TEXT_LEN + 1], got[DIGEST_TEXT_LEN + 1];
    digest_bytes("hello world", 11, want);
    struct blob_writer w, other;
    assert_int_equal(blob_writer_open(&w, dir, want, NULL), 0);
    assert_int_equal(blob_writer_add(&w, "hello", 5, NULL), 0);
    assert_int_equal(blob_writer_open(&other, dir, want, NULL), ERR_BUSY);
    blob_writer_release(&w);
    assert_false(blob_exists(dir, want, -1));
    assert_int_equal(blob_writer_open(&w, dir, want, NULL), 0);
    assert_int_equal(w.bytes, 5);
    assert_int_equal(blob_writer_add(&w, " world", 6, NULL), 0);
    assert_int_equal(blob_writer_commit(&w, want, got, NULL), 0);
    assert_string_equal(want, got);
    assert_true(blob_exists(dir, want, 11));
    assert_false(blob_exists(dir, want, 12));
    /* another digest: nothing is left, neither under the name nor under a partial one */
    char other_want[DIGEST_TEXT_LEN + 1];
    digest_bytes("x", 1, other_want);
    assert_int_equal(blob_writer_open(&w, dir, other_want, NULL), 0);
    assert_int_equal(blob_writer_add(&w, "y", 1, NULL), 0);
    assert_int_equal(blob_writer_commit(&w, other_want, got, NULL), ERR_CORRUPT);
    assert_false(blob_exists(dir, other_want, -1));
    char *partial = blob_partial_path(dir, other_want);
    assert_false(fs_exists(partial));
    free(partial);
    store_close(s);
}

/* ---- the library ---- */

static void import(struct store *s, const char *name, const char *const *path, int n)
{
    struct err err = {0};
    struct store_import in = {.name = name,
                              .path = path,
                              .n_path = n,
                              .template_text = "{% for m in messages %}{{ m.content }}{% endfor %}",
                              .system_text = "Be brief.",
                              .params_json = "{\"temperature\":0.5}",
                              .license_text = "MIT"};
    char text[MODEL_NAME_TEXT_MAX];
    if (store_import(s, &in, text, &err) != 0)
        fail_msg("%s", err.text);
}

static int count_blobs(struct store *s)
{
    char command[512];
    snprintf(command, sizeof(command), "exit $(ls %s | wc -l)", store_blobs_dir(s));
    return WEXITSTATUS(system(command));
}

static void test_import_find_remove(void **state)
{
    (void)state;
    struct store *s = open_store();
    char *a = write_file("m-00001-of-00002.gguf", "first");
    char *b = write_file("m-00002-of-00002.gguf", "second");
    char **part;
    int n;
    assert_int_equal(store_split_paths(a, &part, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_string_equal(part[1], b);
    import(s, "two:parts", (const char *const *)part, 2);
    import(s, "one", (const char *const *)part, 1);
    store_paths_free(part, n);

    struct store_model m;
    struct err err = {0};
    assert_int_equal(store_find(s, "TWO:Parts", &m, &err), 0);
    assert_string_equal(m.name, "two:parts");
    assert_int_equal(m.n_path, 2);
    assert_int_equal(m.bytes, 11);
    assert_string_equal(m.system_text, "Be brief.");
    assert_string_equal(m.license_text, "MIT");
    assert_non_null(strstr(m.template_text, "{% for"));
    assert_true(m.modified_ms > 0);
    store_model_release(&m);

    struct store_model *list;
    assert_int_equal(store_list(s, &list, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "one:latest");
    store_list_free(list, n);

    assert_int_equal(store_copy(s, "two:parts", "copy:x", &err), 0);
    assert_int_equal(store_remove(s, "two:parts", &err), 0);
    assert_int_equal(store_find(s, "two:parts", &m, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "hearth pull two:parts"));
    assert_int_equal(store_find(s, "copy:x", &m, &err), 0);
    store_model_release(&m);
    assert_int_equal(store_remove(s, "copy:x", &err), 0);
    assert_int_equal(store_find(s, "one", &m, &err), 0); /* shares a part: it stays */
    store_model_release(&m);
    assert_int_equal(count_blobs(s), 6);
    assert_int_equal(store_remove(s, "one", &err), 0);
    assert_int_equal(count_blobs(s), 0);
    assert_true(fs_exists(a) && fs_exists(b));
    free(a);
    free(b);
    store_close(s);
}

/* As deep as a request may be: what was made can be found again. */
static void test_deep_messages(void **state)
{
    (void)state;
    static const char messages[] =
        "[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{"
        "\"a\":"
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}}]}]";
    struct store *s = open_store();
    char *path = write_file("m.gguf", "weights");
    import(s, "base", (const char *const *)&path, 1);
    const struct store_create in = {.name = "deep", .from = "base", .messages_json = messages};
    struct store_model m;
    struct err err = {0};
    assert_int_equal(store_create(s, &in, &err), 0);
    if (store_find(s, "deep", &m, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(m.messages_json, messages);
    store_model_release(&m);
    free(path);
    store_close(s);
}

/* All of them, in their order: what a model is made of keeps its own. */
static void test_licenses(void **state)
{
    (void)state;
    static const char *const more[] = {"of mine", "and of hers"};
    struct store *s = open_store();
    char *path = write_file("m.gguf", "weights");
    import(s, "base", (const char *const *)&path, 1);
    const struct store_create in = {.name = "own", .from = "base", .license = more, .n_license = 2};
    struct store_model m;
    assert_int_equal(store_create(s, &in, NULL), 0);
    assert_int_equal(store_find(s, "own", &m, NULL), 0);
    assert_string_equal(m.license_text, "MIT\nof mine\nand of hers");
    store_model_release(&m);
    free(path);
    store_close(s);
}

static void test_sweep_waits(void **state)
{
    (void)state;
    struct store *s = open_store();
    char *a = write_file("a.gguf", "aaa");
    const char *path[] = {a};
    import(s, "a", path, 1);
    int before = count_blobs(s), hold;
    assert_int_equal(store_hold(s, &hold, NULL), 0);
    assert_int_equal(store_remove(s, "a", NULL), 0);
    assert_int_equal(count_blobs(s), before); /* somebody is adding: nothing is removed */
    store_unhold(hold);
    import(s, "b", path, 1);
    /* a manifest that cannot be read may name any blob: all stay */
    char *odd = under_root("models/manifests/registry.ollama.ai/library/odd");
    assert_int_equal(fs_mkdirs(odd, 0755, NULL), 0);
    char *file = fs_join(odd, "latest");
    assert_int_equal(fs_write_atomic(file, STR("{broken"), 0644, NULL), 0);
    assert_int_equal(store_remove(s, "b", NULL), 0);
    assert_int_equal(count_blobs(s), before);
    struct store_model m;
    struct err err = {0};
    assert_true(store_find(s, "odd", &m, &err) != 0);
    assert_non_null(strstr(err.text, "odd"));
    struct store_model *list;
    int n;
    assert_int_equal(store_list(s, &list, &n, NULL), 0);
    assert_int_equal(n, 0);
    store_list_free(list, n);
    free(file);
    free(odd);
    free(a);
    store_close(s);
}

static void test_damaged(void **state)
{
    (void)state;
    struct store *s = open_store();
    char *a = write_file("a.gguf", "some bytes");
    const char *path[] = {a};
    import(s, "a", path, 1);
    struct store_model m;
    struct err err = {0};
    assert_int_equal(store_find(s, "a", &m, &err), 0);
    assert_int_equal(truncate(m.path[0], 3), 0);
    store_model_release(&m);
    assert_int_equal(store_find(s, "a", &m, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "pull it again"));
    free(a);
    store_close(s);
}

static void test_plain_files(void **state)
{
    (void)state;
    struct store *s = open_store();
    char *a = write_file("plain.gguf", "12345");
    struct store_model m;
    struct err err = {0};
    assert_int_equal(store_find(s, a, &m, &err), 0);
    assert_int_equal(m.bytes, 5);
    assert_string_equal(m.digest, "");
    store_model_release(&m);
    assert_int_equal(store_find(s, "/nonexistent/x.gguf", &m, &err), ERR_NOT_FOUND);
    assert_true(store_find(s, root, &m, &err) != 0); /* a folder */
    assert_true(store_find(s, "/x/m-00002-of-00003.gguf", &m, &err) != 0);
    assert_true(store_find(s, "/x/m-00001-of-99999.gguf", &m, &err) != 0);
    assert_true(store_remove(s, a, &err) != 0);
    assert_true(fs_exists(a));
    free(a);
    store_close(s);
}

static void test_go_template_is_left_out(void **state)
{
    (void)state;
    struct store *s = open_store();
    char *a = write_file("a.gguf", "go");
    const char *path[] = {a};
    struct store_import in = {.name = "go",
                              .path = path,
                              .n_path = 1,
                              .template_text = "{{- if .System }}{{ .System }}{{ end }}"};
    assert_int_equal(store_import(s, &in, NULL, NULL), 0);
    struct store_model m;
    assert_int_equal(store_find(s, "go", &m, NULL), 0);
    assert_null(m.template_text);
    store_model_release(&m);
    free(a);
    store_close(s);
}

int main(void)
{
    if (mkdtemp(root) == NULL)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_refused),
        cmocka_unit_test(test_names_of_files),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_manifest_refused),
        cmocka_unit_test(test_blob_resume),
        cmocka_unit_test(test_import_find_remove),
        cmocka_unit_test(test_deep_messages),
        cmocka_unit_test(test_licenses),
        cmocka_unit_test(test_sweep_waits),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_plain_files),
        cmocka_unit_test(test_go_template_is_left_out),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}
