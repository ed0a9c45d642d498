/*
 * cmd_worker: the process that holds one model; started by the gateway, not by people.
 */
#include "cli/cli.h"
#include "worker/worker.h"

#include <sys/prctl.h>

int cmd_worker(int argc, char **argv)
{
    prctl(PR_SET_NAME, "hearth"); /* it was started as /proc/self/exe */
    return worker_main(argc, argv);
}
