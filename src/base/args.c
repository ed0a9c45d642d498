/*
 * args: see args.h.
 *
 * Owns: the order of precedence (file, environment, flags: later ones overwrite), the spelling of
 * names in the three places, and the checks on values. Knows no command.
 * Invariant: *option.ret is written only with a value that passed its check.
 */
#include "base/args.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/fs.h"
#include "base/mem.h"

#include <ini.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_LEN_MAX    64 /* longer words have no near name */
#define OWNED_MAX       1024
#define CONFIG_SIZE_MAX (256 * 1024)

/* ---- values ---- */

static int value_bool(struct str text, bool *ret)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (str_eq_nocase(text, str_z(yes[i]))) {
            *ret = true;
            return 0;
        }
        if (str_eq_nocase(text, str_z(no[i]))) {
            *ret = false;
            return 0;
        }
    }
    return ERR_INVALID;
}

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1},
    {"b", 1},
    {"k", INT64_C(1) << 10},
    {"m", INT64_C(1) << 20},
    {"g", INT64_C(1) << 30},
    {"t", INT64_C(1) << 40},
    {"kb", INT64_C(1) << 10},
    {"mb", INT64_C(1) << 20},
    {"gb", INT64_C(1) << 30},
    {"tb", INT64_C(1) << 40},
    {"kib", INT64_C(1) << 10},
    {"mib", INT64_C(1) << 20},
    {"gib", INT64_C(1) << 30},
    {"tib", INT64_C(1) << 40},
};
static const struct unit ms_units[] = {
    {"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60 * 1000}, {"h", 3600 * 1000},
};

/* "1.5g" and "30s": digits, perhaps a fraction, then a unit. */
static int value_unit(struct str text, const struct unit *unit, size_t n_unit, int64_t *ret)
{
    size_t n = 0;
    while (n < text.len && ((text.ptr[n] >= '0' && text.ptr[n] <= '9') || text.ptr[n] == '.'))
        n++;
    double number;
    if (n == 0 || !str_to_f64(str_sub(text, 0, n), &number))
        return ERR_INVALID;
    struct str rest = str_trim(str_from(text, n));
    for (size_t i = 0; i < n_unit; i++) {
        if (!str_eq_nocase(rest, str_z(unit[i].name)))
            continue;
        double product = number * (double)unit[i].factor;
        if (product > 9e18)
            return ERR_LIMIT;
        *ret = (int64_t)llround(product);
        return 0;
    }
    return ERR_INVALID;
}

static int64_t kind_max(enum arg_kind kind)
{
    return kind == ARG_INT || kind == ARG_MS ? INT32_MAX : INT64_MAX;
}

static int value_f64(const struct arg_option *o, struct str text, struct err *err)
{
    double f;
    if (!str_to_f64(text, &f))
        return err_set_param(err, ERR_INVALID, o->name, "'%.*s' is not a number", STR_ARG(text));
    if ((o->min != 0 || o->max != 0) && (f < (double)o->min || f > (double)o->max))
        return err_set_param(err, ERR_INVALID, o->name, "%.*s is not between %lld and %lld",
                             STR_ARG(text), (long long)o->min, (long long)o->max);
    *(double *)o->ret = f;
    return 0;
}

static int value_number(const struct arg_option *o, struct str text, struct err *err)
{
    int64_t v = 0;
    int rc;
    const char *what = "a whole number";
    if (o->kind == ARG_BYTES) {
        rc = value_unit(text, byte_units, ARRAY_LEN(byte_units), &v);
        what = "a size (like 512m or 4g)";
    } else if (o->kind == ARG_MS) {
        rc = value_unit(text, ms_units, ARRAY_LEN(ms_units), &v);
        what = "a time (like 250ms, 30s or 5m)";
    } else {
        rc = str_to_i64(text, &v) ? 0 : ERR_INVALID;
    }
    if (rc == ERR_INVALID)
        return err_set_param(err, ERR_INVALID, o->name, "'%.*s' is not %s", STR_ARG(text), what);
    int64_t max = o->min == 0 && o->max == 0 ? kind_max(o->kind) : o->max;
    if (rc != 0 || v < o->min || v > max)
        return err_set_param(err, ERR_INVALID, o->name, "%.*s is not between %lld and %lld",
                             STR_ARG(text), (long long)o->min, (long long)max);
    if (o->kind == ARG_INT || o->kind == ARG_MS)
        *(int *)o->ret = (int)v;
    else
        *(int64_t *)o->ret = v;
    return 0;
}

static int value_word(const struct arg_option *o, struct str text, struct err *err)
{
    struct str rest = str_z(o->value), word;
    for (int i = 0; str_split(&rest, '|', &word); i++)
        if (str_eq(text, word)) {
            *(int *)o->ret = i;
            return 0;
        }
    return err_set_param(err, ERR_INVALID, o->name, "'%.*s' is none of %s", STR_ARG(text),
                         o->value);
}

int args_value(const struct arg_option *o, struct str text, struct err *err)
{
    switch (o->kind) {
    case ARG_BOOL:
        if (value_bool(text, o->ret) != 0)
            return err_set_param(err, ERR_INVALID, o->name, "'%.*s' is neither yes nor no",
                                 STR_ARG(text));
        return 0;
    case ARG_F64:
        return value_f64(o, text, err);
    case ARG_STR:
        if (text.len == 0 && !o->may_be_empty)
            return err_set_param(err, ERR_INVALID, o->name, "the value is empty");
        *(const char **)o->ret = text.ptr;
        return 0;
    case ARG_WORD:
        return value_word(o, text, err);
    case ARG_INT:
    case ARG_I64:
    case ARG_BYTES:
    case ARG_MS:
        return value_number(o, text, err);
    }
    return err_set(err, ERR_INTERNAL, "option '%s' has no kind", o->name);
}

/* ---- names ---- */

static int edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    int row[NAME_LEN_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *args_nearest(const char *word, const char *const *name, int n_name)
{
    size_t len = strlen(word);
    if (len < 2 || len > NAME_LEN_MAX)
        return NULL;
    int best = len < 4 ? 1 : len < 8 ? 2 : 3;
    const char *ret = NULL;
    for (int i = 0; i < n_name; i++) {
        if (strlen(name[i]) > NAME_LEN_MAX)
            continue;
        int d = edit_distance(word, name[i]);
        if (d < best || (d == best && ret == NULL)) {
            best = d;
            ret = name[i];
        }
    }
    return ret;
}

static const struct arg_option *find_long(const struct args_spec *spec, struct str name)
{
    for (int i = 0; i < spec->n_option; i++)
        if (str_eq_z(name, spec->option[i].name))
            return &spec->option[i];
    return NULL;
}

static const struct arg_option *find_letter(const struct args_spec *spec, char letter)
{
    for (int i = 0; i < spec->n_option; i++)
        if (spec->option[i].letter == letter)
            return &spec->option[i];
    return NULL;
}

static int unknown_option(const struct args_spec *spec, struct str name, const char *dashes,
                          struct err *err)
{
    const char *names[64];
    int n = 0;
    for (int i = 0; i < spec->n_option && n < (int)ARRAY_LEN(names) - 1; i++)
        names[n++] = spec->option[i].name;
    names[n++] = "help";
    char word[NAME_LEN_MAX + 2];
    snprintf(word, sizeof(word), "%.*s", STR_ARG(name));
    const char *near = args_nearest(word, names, n);
    if (near != NULL)
        return err_set(err, ERR_INVALID, "unknown option %s%.*s; did you mean --%s?", dashes,
                       STR_ARG(name), near);
    return err_set(err, ERR_INVALID, "unknown option %s%.*s; 'hearth %s --help' lists them", dashes,
                   STR_ARG(name), spec->command);
}

/* ---- environment and file ---- */

/* "header-timeout" -> "HEARTH_HEADER_TIMEOUT" */
static void env_name(const struct arg_option *o, char *ret, size_t size)
{
    snprintf(ret, size, "HEARTH_%s", o->name);
    for (char *p = ret; *p != '\0'; p++) {
        if (*p == '-')
            *p = '_';
        else if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    }
}

static int parse_env(const struct args_spec *spec, struct err *err)
{
    for (int i = 0; i < spec->n_option; i++) {
        const struct arg_option *o = &spec->option[i];
        if (o->flag_only)
            continue;
        char name[NAME_LEN_MAX + 8];
        env_name(o, name, sizeof(name));
        const char *value = getenv(name);
        if (value == NULL || value[0] == '\0')
            continue;
        if (args_value(o, str_z(value), err) != 0)
            return err_wrap(err, "environment variable %s", name);
    }
    return 0;
}

struct config {
    const struct args_spec *spec;
    struct args *args;
    const char *path;
    struct err *err;
    int code;
};

static char *keep(struct args *a, char *text)
{
    CHECK(mem_grow((void **)&a->owned, &a->cap_owned, a->n_owned + 1, OWNED_MAX, sizeof(char *)));
    a->owned[a->n_owned++] = text;
    return text;
}

/* inih calls this per "key = value"; 0 stops it (INI_STOP_ON_FIRST_ERROR is not always built in).
 */
static int config_key(void *user, const char *section, const char *name, const char *value)
{
    struct config *c = user;
    if (c->code != 0)
        return 0;
    bool ours = strcmp(section, c->spec->command) == 0;
    if (!ours && section[0] != '\0')
        return 1;
    const struct arg_option *o = find_long(c->spec, str_z(name));
    if (o == NULL || o->flag_only) {
        if (!ours)
            return 1; /* before any section: for other commands, perhaps */
        unknown_option(c->spec, str_z(name), "", c->err);
        c->code = err_wrap(c->err, "%s, section [%s]", c->path, section);
        return 0;
    }
    struct str text = str_z(value == NULL ? "" : value);
    if (o->kind == ARG_STR && text.len > 0)
        text.ptr = keep(c->args, str_dup(text));
    if (args_value(o, text, c->err) != 0) {
        c->code = err_wrap(c->err, "%s, %s", c->path, name);
        return 0;
    }
    return 1;
}

static int parse_file(const struct args_spec *spec, const char *path, bool must, struct args *a,
                      struct err *err)
{
    struct buf text;
    buf_init(&text, CONFIG_SIZE_MAX);
    int rc = fs_read(path, &text, err);
    if (rc == ERR_NOT_FOUND && !must) {
        err_clear(err);
        buf_release(&text);
        return 0;
    }
    if (rc == 0) {
        struct config c = {.spec = spec, .args = a, .path = path, .err = err};
        int line = ini_parse_string(text.len == 0 ? "" : text.ptr, config_key, &c);
        rc = c.code;
        if (rc == 0 && line != 0)
            rc = err_set(err, ERR_INVALID, "%s, line %d: expected 'key = value' or '[section]'",
                         path, line);
    }
    buf_release(&text);
    return rc;
}

static int parse_files(const struct args_spec *spec, struct args *a, struct err *err)
{
    const char *named = getenv("HEARTH_CONFIG");
    if (named != NULL && named[0] != '\0')
        return parse_file(spec, named, true, a, err);
    int rc = parse_file(spec, "/etc/hearth/hearth.conf", false, a, err);
    if (rc != 0)
        return rc;
    const char *xdg = getenv("XDG_CONFIG_HOME");
    char *dir;
    if (xdg != NULL && xdg[0] == '/') {
        dir = str_dup(str_z(xdg));
    } else {
        char *home = fs_home();
        if (home == NULL)
            return 0;
        dir = fs_join(home, ".config");
        free(home);
    }
    char *path = fs_join(dir, "hearth/hearth.conf");
    free(dir);
    rc = parse_file(spec, path, false, a, err);
    free(path);
    return rc;
}

/* ---- flags ---- */

struct cursor {
    int argc, i;
    char **argv;
};

static int take_value(const struct arg_option *o, const char *shown, const char *attached,
                      struct cursor *c, struct err *err)
{
    const char *value = attached;
    if (value == NULL) {
        if (c->i + 1 >= c->argc)
            return err_set(err, ERR_INVALID, "%s needs a value: %s %s", shown, shown,
                           o->value == NULL ? "VALUE" : o->value);
        value = c->argv[++c->i];
    }
    if (args_value(o, str_z(value), err) != 0)
        return err_wrap(err, "%s", shown);
    return 0;
}

static int parse_long(const struct args_spec *spec, struct cursor *c, struct err *err)
{
    const char *arg = c->argv[c->i];
    struct str name = str_z(arg + 2);
    const char *attached = strchr(arg, '=');
    if (attached != NULL) {
        name.len = (size_t)(attached - name.ptr);
        attached++;
    }
    const struct arg_option *o = find_long(spec, name);
    bool negated = false;
    if (o == NULL && str_starts(name, STR("no-"))) {
        o = find_long(spec, str_from(name, 3));
        negated = o != NULL && o->kind == ARG_BOOL && attached == NULL;
        if (!negated)
            o = NULL;
    }
    if (o == NULL)
        return unknown_option(spec, name, "--", err);
    if (o->kind == ARG_BOOL && attached == NULL) {
        *(bool *)o->ret = !negated;
        return 0;
    }
    char shown[NAME_LEN_MAX + 4];
    snprintf(shown, sizeof(shown), "--%s", o->name);
    return take_value(o, shown, attached, c, err);
}

static int parse_letters(const struct args_spec *spec, struct cursor *c, struct err *err)
{
    for (const char *p = c->argv[c->i] + 1; *p != '\0'; p++) {
        const struct arg_option *o = find_letter(spec, *p);
        if (o == NULL)
            return unknown_option(spec, (struct str){p, 1}, "-", err);
        if (o->kind == ARG_BOOL) {
            *(bool *)o->ret = true;
            continue;
        }
        char shown[3] = {'-', *p, '\0'};
        return take_value(o, shown, p[1] == '\0' ? NULL : p + 1, c, err);
    }
    return 0;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int parse_flags(const struct args_spec *spec, int argc, char **argv, struct args *a,
                       struct err *err)
{
    struct cursor c = {.argc = argc, .i = 1, .argv = argv};
    bool words_only = false;
    for (; c.i < argc; c.i++) {
        char *arg = argv[c.i];
        int rc = 0;
        if (words_only || arg[0] != '-' || arg[1] == '\0')
            a->word[a->n_word++] = arg;
        else if (strcmp(arg, "--") == 0)
            words_only = true;
        else if (arg[1] == '-')
            rc = parse_long(spec, &c, err);
        else
            rc = parse_letters(spec, &c, err);
        if (rc != 0)
            return rc;
    }
    if (a->n_word < spec->n_word_min)
        return err_set(err, ERR_INVALID, "usage: hearth %s [OPTION]... %s", spec->command,
                       spec->usage);
    if (spec->n_word_max >= 0 && a->n_word > spec->n_word_max)
        return err_set(err, ERR_INVALID,
                       "'%s' is one word too many; usage: hearth %s [OPTION]... %s",
                       a->word[spec->n_word_max], spec->command, spec->usage);
    return 0;
}

int args_parse(const struct args_spec *spec, int argc, char **argv, struct args *ret,
               struct err *err)
{
    struct args a = {.word = mem_zero((size_t)argc + 1, sizeof(char *))};
    int rc = 0;
    a.help = wants_help(argc, argv);
    if (!a.help) {
        rc = parse_files(spec, &a, err);
        if (rc == 0)
            rc = parse_env(spec, err);
        if (rc == 0)
            rc = parse_flags(spec, argc, argv, &a, err);
    }
    if (rc != 0) {
        args_release(&a);
        return rc;
    }
    *ret = a;
    return 0;
}

void args_release(struct args *a)
{
    for (size_t i = 0; i < a->n_owned; i++)
        free(a->owned[i]);
    free(a->owned);
    free(a->word);
    *a = (struct args){0};
}

void args_help(const struct args_spec *spec, FILE *out)
{
    fprintf(out, "%s.\n\nUsage: hearth %s [OPTION]...%s%s\n", spec->summary, spec->command,
            spec->usage[0] == '\0' ? "" : " ", spec->usage);
    if (spec->details != NULL)
        fprintf(out, "\n%s\n", spec->details);
    fprintf(out, "\nOptions:\n");
    for (int i = 0; i < spec->n_option; i++) {
        const struct arg_option *o = &spec->option[i];
        char left[96];
        char letter[5] = "    ";
        if (o->letter != 0)
            snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name, o->value == NULL ? "" : " ",
                 o->value == NULL ? "" : o->value);
        fprintf(out, "  %-30s %s\n", left, o->help);
    }
    fprintf(out, "  %-30s %s\n", "-h, --help", "this text");
    for (int i = 0; i < spec->n_option; i++) {
        if (spec->option[i].flag_only)
            continue;
        char name[NAME_LEN_MAX + 8];
        env_name(&spec->option[i], name, sizeof(name));
        fprintf(out,
                "\nAlso set by environment (--%s: %s) and, in ~/.config/hearth/hearth.conf or\n"
                "/etc/hearth/hearth.conf, in the section [%s]. Flags win over both.\n",
                spec->option[i].name, name, spec->command);
        break;
    }
}

bool args_take(const struct args_spec *spec, int argc, char **argv, struct args *ret, int *ret_code)
{
    struct err err = {0};
    if (args_parse(spec, argc, argv, ret, &err) != 0) {
        fprintf(stderr, "hearth %s: %s\n", spec->command, err.text);
        *ret_code = 2;
        return false;
    }
    if (!ret->help)
        return true;
    args_help(spec, stdout);
    args_release(ret);
    *ret_code = 0;
    return false;
}
