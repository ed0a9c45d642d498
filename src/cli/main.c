/*
 * main: the executable `hearth`. Owns the table of commands and the choice among them; each
 * command parses its own options (base/args) and knows its own room.
 */
#include "base/mem.h"
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    const char *help; /* one line; NULL: not for people, not listed */
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"serve", "serve models over HTTP", cmd_serve},
    {"run", "chat with a model, or have one answer", cmd_run},
    {"pull", "fetch a model into the library", cmd_pull},
    {"list", "list the models in the library", cmd_list},
    {"ps", "show the models that the server has loaded", cmd_ps},
    {"stop", "unload models from the server's memory", cmd_stop},
    {"plan", "show what memory a model takes, and what fits", cmd_plan},
    {"show", "show what is inside a model", cmd_show},
    {"convert", "make a GGUF file of a model in another form", cmd_convert},
    {"create", "make a model from a Modelfile", cmd_create},
    {"cp", "give a model a second name", cmd_cp},
    {"cache", "show or empty the cache of packed weights", cmd_cache},
    {"key", "make, list and revoke API keys", cmd_key},
    {"rm", "remove models from the library", cmd_rm},
    {"render", "render a chat template", cmd_render},
    {"tokenize", "turn text into token ids", cmd_tokenize},
    {"eval", "measure a model: perplexity of a text", cmd_eval},
    {"bench", "measure a model's speed beside the machine's limits", cmd_bench},
    {"synth", "write a model of random weights, to measure speed", cmd_synth},
    {"usage", "show who used how much of which model", cmd_usage},
    {"version", "show the version", cmd_version},
    {"worker", NULL, cmd_worker},
};

int cli_fail(const struct err *err)
{
    fprintf(stderr, "hearth: %s\n", err->text[0] == '\0' ? err_word(err->code) : err->text);
    return CLI_FAILED;
}

int cli_done(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CLI_OK;
    if (errno != EPIPE)
        fprintf(stderr, "hearth: cannot write the output: %s\n", strerror(errno));
    return CLI_FAILED;
}

static void help(FILE *out)
{
    fprintf(out,
            "Hearth %s: a local LLM server.\n\nUsage: hearth COMMAND [OPTION]... [WORD]...\n\n",
            HEARTH_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].help != NULL)
            fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\n'hearth COMMAND --help' says more. Models live in $HEARTH_MODELS or "
                 "~/.hearth/models.\n");
}

static int unknown(const char *word)
{
    const char *names[ARRAY_LEN(commands)];
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].help != NULL)
            names[n++] = commands[i].name;
    const char *near = args_nearest(word, names, n);
    if (near != NULL)
        fprintf(stderr, "hearth: unknown command '%s'; did you mean '%s'?\n", word, near);
    else
        fprintf(stderr, "hearth: unknown command '%s'; 'hearth --help' lists them\n", word);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error from write, not a silent death */
    if (argc < 2) {
        help(stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        if (argc > 2 && word[0] == 'h') { /* hearth help COMMAND */
            char *help_argv[] = {argv[0], argv[2], (char[]){"--help"}, NULL};
            return main(3, help_argv);
        }
        help(stdout);
        return cli_done();
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-v") == 0)
        word = "version";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return unknown(word);
}
