/*
 * cmd_worker: the process that holds one model; started by the gateway, not by people.
 */
#include "cli/cli.h"
#include "worker/worker.h"

int cmd_worker(int argc, char **argv)
{
    return worker_main(argc, argv);
}
