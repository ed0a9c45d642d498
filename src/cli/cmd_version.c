/*
 * cmd_version: what this executable is.
 */
#include "cli/cli.h"

#include <stdio.h>

int cmd_version(int argc, char **argv)
{
    const struct args_spec spec = {
        .command = "version",
        .usage = "",
        .summary = "Show the version",
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    args_release(&args);
    printf("hearth %s\n", HEARTH_VERSION);
    return cli_done();
}
