#!/usr/bin/env python3
"""llama.cpp's server as the Python package xllamacpp carries it, prebuilt for AVX2, behind llama-server's options.

    peer_xllama.py -m FILE --host ADDRESS --port N -np SLOTS -c TOKENS -t THREADS -tb THREADS
                   [--embeddings] [-b TOKENS] [-ub TOKENS]

Its server runs in threads of its own, without Python. For machines without AVX-512 it computes with the
same instructions as a build made there; build/bench/xllamacpp is where bench/servers.py puts it.
"""
import argparse
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "build/bench/xllamacpp"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", required=True, metavar="FILE")
    parser.add_argument("--host", default="127.0.0.1")
    for name in ("--port", "-np", "-c", "-t", "-tb"):
        parser.add_argument(name, type=int, required=True, metavar="N")
    parser.add_argument("--embeddings", action="store_true")
    for name in ("-b", "-ub"):
        parser.add_argument(name, type=int, metavar="N")
    args = parser.parse_args()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.port = args.m, args.port
    params.hostnames = args.host if isinstance(params.hostnames, str) else [args.host]
    params.n_parallel, params.n_ctx = args.np, args.c
    params.kv_unified = False  # as llama-server has it when -np is given
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = args.t, args.tb
    params.embedding = args.embeddings
    params.n_batch, params.n_ubatch = args.b or params.n_batch, args.ub or params.n_ubatch
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
