/*
 * cli: what the commands share. One file per command: src/cli/cmd_<name>.c exports
 * int cmd_<name>(int argc, char **argv), where argv[0] is the command's name; main.c has the table.
 *
 * Exit codes: 0 done; 1 failed, with one line on standard error that says what and what to do; 2
 * wrong usage. Standard output carries results only, so that it can be piped.
 */
#ifndef HEARTH_CLI_CLI_H
#define HEARTH_CLI_CLI_H

#include "base/args.h"
#include "base/err.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* Prints "hearth: text" on standard error; returns CLI_FAILED. */
int cli_fail(const struct err *err);
/* Flushes standard output: CLI_OK, or CLI_FAILED with a line when not everything was written. */
int cli_done(void);

int cmd_bench(int argc, char **argv);
int cmd_cache(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_cp(int argc, char **argv);
int cmd_create(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_render(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_usage(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_worker(int argc, char **argv);

#endif
