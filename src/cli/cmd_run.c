/*
 * cmd_run: a chat at the prompt, or one answer. Owns the terminal: line editing, history, the
 * commands that begin with "/", Ctrl-C. The conversation is cli/session, the server cli/client.
 */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/input.h"
#include "cli/session.h"

#include "base/fs.h"
#include "base/mem.h"
#include "engine/speculation.h"
#include "model/model.h"
#include "store/model_name.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define PROMPT_MAX   (16 * 1024 * 1024)
#define HISTORY_KEEP 1000

static volatile sig_atomic_t stop;

static void on_interrupt(int number)
{
    (void)number;
    stop = 1;
}

/* No SA_RESTART: reading a line must notice Ctrl-C. */
static void catch_interrupt(void)
{
    struct sigaction act = {.sa_handler = on_interrupt};
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, NULL);
}

struct options {
    struct session session;
    const char *system;
    int ctx, threads, activations, kv_type, speculate;
    const char *draft_model; /* or NULL */
    bool verbose;
};

/* ---- one answer ---- */

static int answer_once(struct options *o, int n_word, char **word, struct err *err)
{
    struct buf prompt;
    buf_init(&prompt, PROMPT_MAX);
    int rc = 0;
    if (n_word == 0 || (n_word == 1 && strcmp(word[0], "-") == 0))
        rc = input_read(&prompt, &stop, err);
    else
        for (int i = 0; i < n_word; i++)
            buf_printf(&prompt, "%s%s", i > 0 ? " " : "", word[i]);
    struct str text = str_trim(buf_str(&prompt));
    if (rc == 0 && text.len == 0)
        rc = err_set(err, ERR_INVALID, "the prompt is empty");
    if (rc == 0)
        rc = session_ask(&o->session, text, err);
    if (rc == 0 && o->verbose)
        session_print_stats(&o->session, stderr);
    buf_release(&prompt);
    return rc;
}

/* ---- the chat ---- */

struct chat_ui {
    struct options *o;
    EditLine *el;
    History *history;
    char *history_path; /* or NULL */
    bool in_block;      /* between """ and """ */
    struct buf block;
};

/*
 * One character of the line being edited. Ctrl-C is let through only while this waits, so that it
 * can never fall between two reads and be lost; -1 then.
 */
static int read_char(EditLine *el, wchar_t *ret)
{
    (void)el;
    mbstate_t state = {0};
    sigset_t blocked, waiting;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &waiting);
    sigdelset(&waiting, SIGINT);
    int rc = stop != 0 ? -1 : 0;
    while (rc == 0) {
        struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
        char byte;
        if (ppoll(&fd, 1, NULL, &waiting) < 0) {
            if (errno != EINTR || stop != 0)
                rc = -1;
            continue; /* a new window size */
        }
        if (read(STDIN_FILENO, &byte, 1) != 1)
            break; /* the end */
        size_t n = mbrtowc(ret, &byte, 1, &state);
        if (n == (size_t)-1)
            memset(&state, 0, sizeof(state)); /* not UTF-8: the byte is left out */
        else if (n != (size_t)-2)
            rc = 1;
    }
    sigprocmask(SIG_SETMASK, &waiting, NULL);
    return rc;
}

static char *prompt_text(EditLine *el)
{
    static char first[] = ">>> ", more[] = "... ";
    struct chat_ui *ui;
    el_get(el, EL_CLIENTDATA, &ui);
    return ui->in_block ? more : first;
}

static void print_help(void)
{
    printf("/set parameter NAME VALUE   change a parameter; without VALUE: the default again\n"
           "/set system TEXT            tell the model who it is; without TEXT: nothing\n"
           "/show                       the model, the parameters, the conversation's length\n"
           "/clear                      forget the conversation\n"
           "/bye                        end (also Ctrl-D)\n"
           "\"\"\"                         begins and ends a text of several lines\n"
           "Ctrl-C stops an answer. The up arrow brings earlier lines back.\n");
}

static void print_params(const struct session *s)
{
    const char *const *name = session_param_names();
    for (; *name != NULL; name++) {
        const json_t *value = json_object_get(s->params, *name);
        char *text =
            value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        printf("  %-18s %s\n", *name, text == NULL ? "(default)" : text);
        free(text);
    }
}

static void print_state(const struct session *s)
{
    printf("model       %s\nserver      %s:%d\nsystem      %s\nmessages    %zu\nparameters\n",
           s->model, s->client.host, s->client.port,
           s->system == NULL ? "(the model's own)" : s->system, json_array_size(s->messages));
    print_params(s);
}

/* "word rest": cuts the first word off, and blanks. */
static struct str cut_word(struct str *rest)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t')
        n++;
    struct str word = str_sub(*rest, 0, n);
    *rest = str_trim(str_from(*rest, n));
    return word;
}

static void command_set(struct session *s, struct str rest)
{
    struct str what = cut_word(&rest);
    struct err err = {0};
    if (str_eq_z(what, "system")) {
        char *text = str_dup(rest);
        session_set_system(s, text);
        free(text);
        puts(rest.len > 0 ? "system message set" : "no system message");
        return;
    }
    if (str_eq_z(what, "parameter") && rest.len > 0) {
        struct str name = cut_word(&rest);
        if (session_set(s, name, rest.len > 0 ? &rest : NULL, &err) == 0)
            printf("%.*s: %.*s\n", STR_ARG(name), STR_ARG(rest.len > 0 ? rest : STR("default")));
        else
            puts(err.text);
        return;
    }
    puts("/set parameter NAME VALUE, or /set system TEXT. The parameters:");
    print_params(s);
}

/* False: the chat ends. */
static bool command(struct session *s, struct str line)
{
    struct str rest = line, word = cut_word(&rest);
    if (str_eq_z(word, "/bye") || str_eq_z(word, "/exit") || str_eq_z(word, "/quit"))
        return false;
    if (str_eq_z(word, "/help") || str_eq_z(word, "/?")) {
        print_help();
    } else if (str_eq_z(word, "/clear")) {
        session_clear(s);
        puts("the conversation begins anew");
    } else if (str_eq_z(word, "/show")) {
        print_state(s);
    } else if (str_eq_z(word, "/set")) {
        command_set(s, rest);
    } else {
        printf("there is no command %.*s; /help lists them\n", STR_ARG(str_sub(word, 0, 80)));
    }
    fflush(stdout);
    return true;
}

static void ask(struct chat_ui *ui, struct str text)
{
    struct session *s = &ui->o->session;
    struct err err = {0};
    int rc = session_ask(s, text, &err);
    if (rc == ERR_CANCELLED)
        printf("\n[stopped]\n");
    else if (rc != 0)
        cli_fail(&err);
    else
        session_print_stats(s, stdout);
    putchar('\n');
    fflush(stdout);
    stop = 0;
}

/* A line of a block in """: the text may begin and end on the marks' own lines. */
static void block_line(struct chat_ui *ui, struct str line)
{
    if (!ui->in_block) {
        ui->in_block = true;
        buf_clear(&ui->block);
        line = str_from(line, 3);
    } else {
        buf_add_char(&ui->block, '\n');
    }
    ptrdiff_t end = str_find(line, STR("\"\"\""));
    buf_add_str(&ui->block, end < 0 ? line : str_sub(line, 0, (size_t)end));
    if (end < 0)
        return;
    ui->in_block = false;
    struct str text = str_trim(buf_str(&ui->block));
    if (ui->block.overflow)
        printf("the text is longer than %d MiB\n", PROMPT_MAX >> 20);
    else if (text.len > 0)
        ask(ui, text);
}

/* False: the chat ends. */
static bool take_line(struct chat_ui *ui, struct str line)
{
    if (ui->in_block || str_starts(str_trim(line), STR("\"\"\""))) {
        block_line(ui, ui->in_block ? line : str_trim(line));
        return true;
    }
    line = str_trim(line);
    if (line.len == 0)
        return true;
    if (line.ptr[0] == '/')
        return command(&ui->o->session, line);
    ask(ui, line);
    return true;
}

static void chat_loop(struct chat_ui *ui)
{
    for (;;) {
        int n = 0;
        const char *got = el_gets(ui->el, &n);
        if (stop != 0) {
            stop = 0;
            el_reset(ui->el);
            printf(ui->in_block ? "\n" : "\n(/bye or Ctrl-D ends)\n");
            fflush(stdout);
            ui->in_block = false;
            continue;
        }
        if (got == NULL || n <= 0)
            break;
        struct str line = {got, (size_t)n};
        if (line.ptr[line.len - 1] == '\n')
            line.len--;
        char *copy = str_dup(line);
        if (str_trim(line).len > 0) {
            HistEvent event;
            history(ui->history, &event, H_ENTER, copy);
        }
        bool more = take_line(ui, str_z(copy));
        free(copy);
        if (!more)
            return;
    }
    putchar('\n');
}

static char *history_file(void)
{
    char *home = fs_home();
    if (home == NULL)
        return NULL;
    char *dir = fs_join(home, ".hearth");
    char *ret = fs_mkdirs(dir, 0700, NULL) == 0 ? fs_join(dir, "history") : NULL;
    free(dir);
    free(home);
    return ret;
}

static void set_up_editing(struct chat_ui *ui)
{
    HistEvent event;
    ui->history = history_init();
    history(ui->history, &event, H_SETSIZE, HISTORY_KEEP);
    history(ui->history, &event, H_SETUNIQUE, 1);
    ui->history_path = history_file();
    if (ui->history_path != NULL)
        history(ui->history, &event, H_LOAD, ui->history_path);
    ui->el = el_init("hearth", stdin, stdout, stderr);
    el_set(ui->el, EL_CLIENTDATA, ui);
    el_set(ui->el, EL_PROMPT, prompt_text);
    el_set(ui->el, EL_EDITOR, "emacs");
    el_set(ui->el, EL_HIST, history, ui->history);
    el_set(ui->el, EL_SIGNAL, 0);
    el_set(ui->el, EL_GETCFN, read_char);
    el_source(ui->el, NULL); /* ~/.editrc */
}

static void chat(struct options *o)
{
    struct chat_ui ui = {.o = o};
    buf_init(&ui.block, PROMPT_MAX);
    set_up_editing(&ui);
    printf("%s. /help lists the commands, Ctrl-D ends.\n", o->session.model);
    fflush(stdout);
    chat_loop(&ui);
    HistEvent event;
    if (ui.history_path != NULL)
        history(ui.history, &event, H_SAVE, ui.history_path);
    el_end(ui.el);
    history_end(ui.history);
    free(ui.history_path);
    buf_release(&ui.block);
}

/* ---- the command ---- */

static int with_server(struct options *o, struct args *args, struct err *err)
{
    struct session *s = &o->session;
    struct client_server server = {0};
    int rc = 0;
    /* A server takes only names from its clients; a file is for a server of our own. */
    bool path = model_source_of(s->model) == SOURCE_PATH;
    if (path || !client_alive(&s->client)) {
        char ctx[16], threads[16];
        snprintf(ctx, sizeof(ctx), "%d", o->ctx);
        snprintf(threads, sizeof(threads), "%d", o->threads);
        const char *more[] = {"--ctx",
                              ctx,
                              "--threads",
                              threads,
                              "--activations",
                              activations_name((enum activations)o->activations),
                              "--kv-type",
                              kv_type_name((enum kv_type)o->kv_type),
                              "--speculate",
                              o->speculate == SPECULATE_OFF ? "off" : "auto",
                              "--draft-model", /* a server's own is for another model, perhaps */
                              o->draft_model != NULL ? o->draft_model : "",
                              NULL};
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "loading %s ...\r", s->model);
        rc = client_server_start(&server, s->model, more, &s->client, &stop, err);
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\033[K");
    }
    if (rc == 0) {
        bool once = args->n_word > 1 || isatty(STDIN_FILENO) != 1;
        if (once)
            rc = answer_once(o, args->n_word - 1, args->word + 1, err);
        else
            chat(o);
    }
    client_server_stop(&server);
    return rc;
}

int cmd_run(int argc, char **argv)
{
    struct options o = {.kv_type = KV_F16};
    const char *temperature = NULL, *seed = NULL, *max_tokens = NULL;
    session_init(&o.session, NULL);
    struct client *client = &o.session.client;
    const struct arg_option option[] = {
        {"system", 's', ARG_STR, "TEXT", "tell the model who it is", &o.system, .flag_only = true},
        {"temperature", 0, ARG_STR, "X", "0: always the likeliest", &temperature},
        {"seed", 0, ARG_STR, "N", "same seed, same answer", &seed, .flag_only = true},
        {"max-tokens", 0, ARG_STR, "N", "the longest answer", &max_tokens},
        {"verbose", 0, ARG_BOOL, NULL, "statistics also after a single answer", &o.verbose},
        {"host", 0, ARG_STR, "ADDRESS", "the server's address", &client->host},
        {"port", 'p', ARG_INT, "N", "the server's port", &client->port, 1, 65535},
        {"api-key", 0, ARG_STR, "KEY", "the key that the server wants", &client->api_key},
        {"ctx", 'c', ARG_INT, "N", "tokens of context, where run starts the server", &o.ctx},
        {"kv-type", 0, ARG_WORD, KV_TYPE_WORDS, "of keys and values, where run starts the server",
         &o.kv_type},
        {"speculate", 0, ARG_WORD, SPECULATE_WORDS,
         "computes likely next tokens along, where run starts the server", &o.speculate},
        {"draft-model", 0, ARG_STR, "MODEL",
         "a small model that guesses along, where run starts the server", &o.draft_model,
         .flag_only = true},
        {"threads", 't', ARG_INT, "N", "threads, where run starts the server", &o.threads, 0, 1024},
        {"activations", 0, ARG_WORD, ACTIVATIONS_WORDS, "precision, where run starts the server",
         &o.activations},
    };
    const struct args_spec spec = {
        .command = "run",
        .usage = "MODEL [PROMPT]...",
        .summary = "Chat with a model, or have one answer",
        .details =
            "With a PROMPT, or with standard input that is no terminal: prints one answer and\n"
            "ends. MODEL is a name in the library or a path to a .gguf file. Where no server\n"
            "answers at --host and --port, run starts one of its own and ends it.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = -1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code)) {
        session_release(&o.session);
        return code;
    }
    setlocale(LC_CTYPE, "C.UTF-8");
    catch_interrupt();
    o.session.model = args.word[0];
    o.session.stop = &stop;
    o.session.terminal = isatty(STDOUT_FILENO) == 1;
    session_set_system(&o.session, o.system);
    const char *const given[][2] = {
        {"temperature", temperature}, {"seed", seed}, {"max_tokens", max_tokens}};
    struct err err = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(given); i++) {
        struct str value = str_z(given[i][1]);
        if (given[i][1] != NULL)
            rc = session_set(&o.session, str_z(given[i][0]), &value, &err);
    }
    if (rc != 0) {
        fprintf(stderr, "hearth run: %s\n", err.text);
        code = CLI_USAGE;
    } else {
        rc = with_server(&o, &args, &err);
        code = rc != 0 ? cli_fail(&err) : cli_done();
    }
    args_release(&args);
    session_release(&o.session);
    return code;
}
