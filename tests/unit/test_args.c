/*
 * args: precedence, kinds and ranges, spelling, refusals.
 */
#include "base/args.h"

#include "base/fs.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct values {
    int port;
    int64_t memory;
    int timeout_ms;
    double temperature;
    bool quiet, json;
    const char *model, *helper;
    int speed;
};

static struct values v;

static const struct arg_option options[] = {
    {"port", 'p', ARG_INT, "N", "port", &v.port, 0, 65535},
    {"memory-max", 0, ARG_BYTES, "SIZE", "memory", &v.memory},
    {"header-timeout", 0, ARG_MS, "TIME", "time", &v.timeout_ms},
    {"temperature", 't', ARG_F64, "X", "temperature", &v.temperature, 0, 2},
    {"quiet", 'q', ARG_BOOL, NULL, "say less", &v.quiet},
    {"json", 'j', ARG_BOOL, NULL, "as JSON", &v.json, .flag_only = true},
    {"model", 'm', ARG_STR, "NAME", "model", &v.model},
    {"helper", 0, ARG_STR, "NAME", "its helper", &v.helper, .may_be_empty = true},
    {"speed", 0, ARG_WORD, "auto|full|fast", "speed", &v.speed},
};
static const struct args_spec spec = {
    .command = "serve",
    .usage = "[WORD]",
    .summary = "Serve",
    .option = options,
    .n_option = ARRAY_LEN(options),
    .n_word_max = 1,
};

static char config_path[] = "/tmp/test_args.XXXXXX";

static int setup(void **state)
{
    (void)state;
    v = (struct values){.port = 11434};
    return setenv("HEARTH_CONFIG", config_path, 1);
}

static void config(const char *text)
{
    assert_int_equal(fs_write_atomic(config_path, str_z(text), 0600, NULL), 0);
}

/* Splits a line at blanks and parses it; "~" stands for an empty word. */
static int parse(const char *line, struct args *args, struct err *err)
{
    static char copy[512];
    static char *argv[32];
    int argc = 0;
    snprintf(copy, sizeof(copy), "serve %s", line);
    for (char *w = strtok(copy, " "); w != NULL; w = strtok(NULL, " "))
        argv[argc++] = w[0] == '~' ? w + 1 : w;
    argv[argc] = NULL;
    memset(err, 0, sizeof(*err));
    return args_parse(&spec, argc, argv, args, err);
}

static void good(const char *line)
{
    struct args args;
    struct err err;
    int rc = parse(line, &args, &err);
    if (rc != 0)
        fail_msg("'%s': %s", line, err.text);
    args_release(&args);
}

static void bad(const char *line, const char *text)
{
    struct args args;
    struct err err;
    struct values before = v;
    assert_int_equal(parse(line, &args, &err), ERR_INVALID);
    if (strstr(err.text, text) == NULL)
        fail_msg("'%s' said: %s", line, err.text);
    v = before;
}

static void test_flags(void **state)
{
    (void)state;
    config("");
    good("--port 80 --memory-max=1.5g --header-timeout 250ms -t0.5 -qj -m x");
    assert_int_equal(v.port, 80);
    assert_int_equal(v.memory, INT64_C(3) << 29);
    assert_int_equal(v.timeout_ms, 250);
    assert_true(v.temperature > 0.49 && v.temperature < 0.51);
    assert_true(v.quiet && v.json);
    assert_string_equal(v.model, "x");
    config("[serve]\nhelper = small\n");
    struct args args;
    struct err err;
    assert_int_equal(parse("", &args, &err), 0);
    assert_string_equal(v.helper, "small");
    args_release(&args);
    good("--helper ~"); /* none, whatever the file says */
    assert_string_equal(v.helper, "");
    bad("--model ~", "the value is empty");
    config("");
    good("--speed=fast");
    assert_int_equal(v.speed, 2);
    good("--speed auto");
    assert_int_equal(v.speed, 0);
    good("--no-quiet --json=off --header-timeout=5m --memory-max 300");
    assert_false(v.quiet || v.json);
    assert_int_equal(v.timeout_ms, 300000);
    assert_int_equal(v.memory, 300);
    assert_int_equal(parse("-p 1 -- --port", &args, &err), 0);
    assert_int_equal(args.n_word, 1);
    assert_string_equal(args.word[0], "--port");
    args_release(&args);
    assert_int_equal(parse("--nonsense --help", &args, &err), 0);
    assert_true(args.help);
    args_release(&args);
}

static void test_refused(void **state)
{
    (void)state;
    config("");
    bad("--speed fas", "auto|full|fast");
    bad("--speed=", "speed");
    bad("--speed full|fast", "none of");
    bad("--prot 80", "did you mean --port?");
    bad("--zzzzzzzz", "--help' lists them");
    bad("-x", "unknown option -x");
    bad("--port", "needs a value");
    bad("--port 65536", "not between 0 and 65535");
    bad("--port -1", "not between");
    bad("--port 80x", "not a whole number");
    bad("--port=", "not a whole number");
    bad("--memory-max 4q", "not a size");
    bad("--memory-max 9999999999t", "not between");
    bad("--header-timeout 90000h", "not between");
    bad("--temperature nan", "not a number");
    bad("--temperature 2.5", "not between");
    bad("--quiet=perhaps", "neither yes nor no");
    bad("--model=", "empty");
    bad("--no-port", "unknown option");
    bad("a b", "one word too many");
}

static void test_precedence(void **state)
{
    (void)state;
    config("port = 1\nmodel = top ; comment\nother = 5\n[run]\nport = 9\nnonsense = 1\n"
           "[serve]\nport = 2\nquiet = yes\n");
    struct args args;
    struct err err;
    assert_int_equal(parse("", &args, &err), 0);
    assert_int_equal(v.port, 2);
    assert_true(v.quiet);
    assert_string_equal(v.model, "top");
    args_release(&args);
    setenv("HEARTH_PORT", "3", 1);
    setenv("HEARTH_HEADER_TIMEOUT", "2s", 1);
    setenv("HEARTH_JSON", "1", 1);
    good("");
    assert_int_equal(v.port, 3);
    assert_int_equal(v.timeout_ms, 2000);
    assert_false(v.json);
    good("--port 4");
    assert_int_equal(v.port, 4);
    setenv("HEARTH_PORT", "", 1);
    good("");
    assert_int_equal(v.port, 2);
    setenv("HEARTH_PORT", "many", 1);
    bad("", "HEARTH_PORT");
    unsetenv("HEARTH_PORT");
    unsetenv("HEARTH_HEADER_TIMEOUT");
    unsetenv("HEARTH_JSON");
}

static void test_bad_files(void **state)
{
    (void)state;
    config("[serve]\nprot = 1\n");
    bad("", "did you mean --port?");
    config("[serve]\nport = x\n");
    bad("", "not a whole number");
    config("[serve]\n\nport\n");
    bad("", "line 3");
    setenv("HEARTH_CONFIG", "/nonexistent/hearth.conf", 1);
    struct args args;
    struct err err;
    assert_int_not_equal(parse("", &args, &err), 0);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"serve", "run", "pull"};
    assert_string_equal(args_nearest("sevre", names, 3), "serve");
    assert_string_equal(args_nearest("rn", names, 3), "run");
    assert_null(args_nearest("x", names, 3));
    assert_null(args_nearest("something", names, 3));
}

int main(void)
{
    int fd = mkstemp(config_path);
    if (fd < 0)
        return 1;
    close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_flags, setup),
        cmocka_unit_test_setup(test_refused, setup),
        cmocka_unit_test_setup(test_precedence, setup),
        cmocka_unit_test_setup(test_bad_files, setup),
        cmocka_unit_test_setup(test_nearest, setup),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(config_path);
    return rc;
}
