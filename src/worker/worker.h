/*
 * worker: the process that holds one model. `hearth worker` (not for people) is started by the
 * gateway's supervisor with: descriptor 3 = the socket, 4.. = the model file's parts in order, then
 * those of a draft model, a file of packed weights, a file to pack them into and one for computed
 * prefixes, where there are such, and these arguments:
 *   --fds N --draft-fds N (parts of the model, of the draft model)
 *   --draft-max N (guesses of that at once; 0 = as is best)
 *   --pack-in 0|1 --pack-out 0|1 (after the parts) --pack-max BYTES (the latter may grow
 * to)
 *   --pack-key TEXT (what they are packed weights of)
 *   --prefix-key TEXT (what they are prefixes of; with it comes the descriptor) --prefix-max BYTES
 *   --ctx N (0 = as much as fits) --parallel N (sequences at once)
 *   --threads N (0 = physical cores) --threads-decode N (of steps without prompts; 0 = the same)
 *   --activations N (enum activations, model/model.h) --kv-bytes N (0 = computed)
 *   --memory-max BYTES (0 = what the machine has free)
 * or, in place of most of these, with --inspect N (worker/inspect.h) or --quantize TYPE
 * (worker/quantizing.h, into the file of --pack-out, of --pack-max bytes).
 * Its environment is emptied but for HEARTH_CPU and HEARTH_LOG. It maps, loads, then locks itself
 * in.
 */
#ifndef HEARTH_WORKER_WORKER_H
#define HEARTH_WORKER_WORKER_H

int worker_main(int argc, char **argv);

#endif
