#!/usr/bin/env python3
"""compare.py: ptrain beside NumPy, PyTorch and Eigen on the same work, in one run.

    bench/compare.py [--rounds N] [--seconds S] [--only WORD] [--threads 1,2] [--isa avx2] [--quick]

Training rates: every round lets each program train for S seconds, one after the other, so that a
busy neighbour or a change of the processor's frequency meets all alike; ratios are taken within a
round; medians are reported, with the least and the largest. Peers are the programs in bench/peers/,
started once and asked for more; before the first round of a workload each is tried with every build of
OpenBLAS (OpenMP, pthread) and every kernel set that fits, and goes on with its best. ptrain runs from its
config as anyone would run it, at a fixed number of threads, its loader thread off, so that one
thread is one core.

The whole program: 10,000 iterations of the book's network and the accuracy on all 70,000 images
once an epoch (ptrain: and after the last iteration), from the start of the process to its exit.

What a peer needs and this machine lacks is named and skipped. The tables go to the terminal, all
figures to build/bench/compare.json. Standard library only.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEERS = os.path.join(TOP, "bench", "peers")
OUT = os.path.join(TOP, "build", "bench")

# name, net of the peers, config of ptrain, batch
WORKLOADS = [
    ("book's net, batch 100", "book", "configs/mnist.ini", 100),
    ("wide net, batch 128", "wide", "configs/mnist-wide.ini", 128),
    ("book's net, batch 1", "book", "configs/mnist.ini", 1),
    ("book's net, batch 8", "book", "configs/mnist.ini", 8),
    ("book's net, batch 32", "book", "configs/mnist.ini", 32),
]

OPENBLAS_BUILDS = ("openblas-openmp", "openblas-pthread")


def cpu():
    """The processor's name and its set of flags."""
    name, flags = "unknown", set()
    with open("/proc/cpuinfo") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
                break
    return name, flags


def find_python():
    """The interpreter that has NumPy; the system's by preference, which has Debian's packages."""
    for python in ("/usr/bin/python3", sys.executable, shutil.which("python3")):
        if python and can_import(python, "numpy"):
            return python
    return None


def can_import(python, module):
    if not os.path.exists(python):
        return False
    return subprocess.run([python, "-c", f"import {module}"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


def build_eigen(isa):
    """Path of the compiled Eigen loop, or None."""
    compiler = os.environ.get("CXX", "g++")
    include = "/usr/include/eigen3"
    if not shutil.which(compiler) or not os.path.isdir(include):
        return None
    source, program = os.path.join(PEERS, "eigen_loop.cpp"), os.path.join(OUT, f"eigen_loop-{isa}")
    machine = "-march=native" if isa == "best" else "-march=haswell"
    command = [compiler, "-O3", machine, "-fopenmp", "-isystem", include, source, "-o", program]
    return program if subprocess.run(command).returncode == 0 else None


class Peer:
    """A program of bench/peers/ and the settings it may run with."""

    def __init__(self, name, command, blas, modes=()):
        self.name, self.command, self.blas, self.modes = name, command, blas, modes
        self.best = {}  # (net, batch, threads): settings

    def settings(self, threads, flags, isa):
        """Environments and extra arguments to try."""
        environments = [{}]
        if self.blas:
            folders = [f"/usr/lib/{os.uname().machine}-linux-gnu/{build}" for build in OPENBLAS_BUILDS]
            folders = [folder for folder in folders if os.path.isdir(folder)]
            cores = ["Haswell"] if isa == "avx2" else [None]
            if isa == "best" and "avx512f" in flags:
                cores.append("SkylakeX")
            environments = [
                dict(([("LD_LIBRARY_PATH", folder)] if folder else [])
                     + ([("OPENBLAS_CORETYPE", core)] if core else []))
                for folder in (folders or [None]) for core in cores]
        modes = self.modes if threads > 1 and self.modes else ([],)
        return [(environment, list(mode)) for environment in environments for mode in modes]

    def environment(self, extra, threads, isa):
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("OPENBLAS_CORETYPE", "LD_PRELOAD")}
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                     "BLIS_NUM_THREADS"):
            environment[name] = str(threads)
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if isa == "avx2":
            environment.update(ATEN_CPU_CAPABILITY="avx2", MKL_ENABLE_INSTRUCTIONS="AVX2")
        environment.update(extra)
        return environment


class Server:
    """A running peer that trains on demand."""

    def __init__(self, peer, setting, net, batch, threads, isa):
        environment, arguments = setting
        self.process = subprocess.Popen(
            peer.command + ["--net", net, "--batch", str(batch), "--threads", str(threads)] + arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TOP,
            env=peer.environment(environment, threads, isa))
        if self.process.stdout.readline().strip() != "ready":
            self.stop()
            raise RuntimeError(f"{peer.name} did not start")

    def rate(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        samples, took = self.process.stdout.readline().split()
        return float(samples) / float(took)

    def stop(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


class Ptrain:
    """ptrain on one workload: short runs whose number of iterations fits the time wanted."""

    name = "ptrain"

    def __init__(self, config, batch, threads, isa, folder):
        self.arguments = [os.path.join(TOP, "ptrain"), config, "-q", "-t", str(threads), "-o", folder,
                          "-s", f"train.batch_size={batch}", "-s", "train.evaluate=false",
                          "-s", "parallel.loader=off"]
        if isa == "avx2":
            self.arguments += ["--isa", "avx2"]
        self.batch, self.folder = batch, folder
        self.iterations = 200
        rate = self.rate(0)
        while self.iterations < 0.1 * rate / batch:  # the first runs were too short to tell
            self.iterations = int(0.1 * rate / batch) + 1
            rate = self.rate(0)
        self.last = rate

    def rate(self, seconds):
        if seconds:
            self.iterations = max(10, int(seconds * self.last / self.batch))
        shutil.rmtree(self.folder, ignore_errors=True)
        run = subprocess.run(self.arguments + ["-s", f"train.iterations={self.iterations}"],
                             cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            sys.exit(f"compare.py: ptrain failed: {run.stderr.strip()}")
        with open(os.path.join(self.folder, "summary.json")) as file:
            self.summary = json.load(file)
        self.last = self.summary["samples_per_second"]
        return self.last

    def stop(self):
        pass


def start_best(peer, net, batch, threads, flags, isa):
    """Tries every setting once for a net, batch and thread count; a server with the best."""
    key = (net, batch, threads)
    if key in peer.best:
        return Server(peer, peer.best[key], net, batch, threads, isa)
    settings = peer.settings(threads, flags, isa)
    best_rate, best_setting = 0, settings[0]
    for setting in settings if len(settings) > 1 else ():
        server = Server(peer, setting, net, batch, threads, isa)
        rate = max(server.rate(0.2) for _ in range(3))
        server.stop()
        if rate > best_rate:
            best_rate, best_setting = rate, setting
    peer.best[key] = best_setting
    return Server(peer, best_setting, net, batch, threads, isa)


def describe(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare_rates(workload, threads, peers, arguments, flags, folder):
    name, net, config, batch = workload
    runners = [Ptrain(config, batch, threads, arguments.isa, folder)]
    names = ["ptrain"]
    for peer in peers:
        runners.append(start_best(peer, net, batch, threads, flags, arguments.isa))
        names.append(peer.name)
    rates = [[] for _ in runners]
    for _ in range(arguments.rounds):
        for i, runner in enumerate(runners):
            rates[i].append(runner.rate(arguments.seconds))
    for runner in runners:
        runner.stop()
    print(f"\n{name}, {threads} thread{'s' if threads > 1 else ''}"
          f" ({runners[0].summary['schedule']}, {runners[0].summary['isa']}): samples per second")
    print(f"  {'':16} {'median':>10} {'least':>10} {'most':>10}   ptrain is faster by")
    rows = []
    for i, own in enumerate(rates):
        row = {"program": names[i], "samples_per_second": describe(own)}
        line = f"  {names[i]:16} {statistics.median(own):10.0f} {min(own):10.0f} {max(own):10.0f}"
        if i > 0:
            ratio = describe([ours / theirs for ours, theirs in zip(rates[0], own)])
            environment, mode = peers[i - 1].best[(net, batch, threads)]
            row.update(ptrain_ratio=ratio, environment=environment, arguments=mode)
            line += f"   {ratio['median']:6.2f} x ({ratio['min']:.2f} .. {ratio['max']:.2f})"
        print(line)
        rows.append(row)
    sys.stdout.flush()
    return {"workload": name, "net": net, "batch": batch, "threads": threads, "programs": rows}


def wall(command, environment):
    start = time.perf_counter()
    run = subprocess.run(command, cwd=TOP, env=environment, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    if run.returncode:
        sys.exit(f"compare.py: {' '.join(command)} failed: {run.stderr.strip()}")
    return seconds, run.stdout


def compare_whole(thread_counts, peers, arguments, flags, folder):
    """The book's program, start to exit; every program at every thread count."""
    programs = []
    for threads in thread_counts:
        extra = ["--isa", "avx2"] if arguments.isa == "avx2" else []
        programs.append(("ptrain", threads, [os.path.join(TOP, "ptrain"), "configs/mnist.ini", "-q",
                                             "-t", str(threads), "-o", folder] + extra,
                         dict(os.environ)))
        for peer in peers:
            key = ("book", 100, threads)
            if key not in peer.best:
                start_best(peer, "book", 100, threads, flags, arguments.isa).stop()
            environment, mode = peer.best[key]
            programs.append((peer.name, threads,
                             peer.command + ["--whole", "--threads", str(threads)] + mode,
                             peer.environment(environment, threads, arguments.isa)))
    seconds = [[] for _ in programs]
    accuracy = [None] * len(programs)
    for _ in range(arguments.whole_rounds):
        for i, (name, _, command, environment) in enumerate(programs):
            shutil.rmtree(folder, ignore_errors=True)
            took, output = wall(command, environment)
            seconds[i].append(took)
            if name == "ptrain":
                with open(os.path.join(folder, "summary.json")) as file:
                    accuracy[i] = json.load(file)["test_accuracy"]
            else:
                accuracy[i] = float(output.split()[-1])
    ours = min((i for i, program in enumerate(programs) if program[0] == "ptrain"),
               key=lambda i: statistics.median(seconds[i]))
    print("\nthe book's whole program, from start to exit: seconds")
    print(f"  {'':16} {'threads':>7} {'median':>8} {'least':>8} {'most':>8}  {'accuracy':>8}"
          f"   ptrain ({programs[ours][1]} threads) is faster by")
    rows = []
    for i, (name, threads, _, _) in enumerate(programs):
        row = {"program": name, "threads": threads, "seconds": describe(seconds[i]),
               "test_accuracy": accuracy[i]}
        line = (f"  {name:16} {threads:7} {statistics.median(seconds[i]):8.3f} {min(seconds[i]):8.3f}"
                f" {max(seconds[i]):8.3f}  {accuracy[i]:8.4f}")
        if name != "ptrain":
            ratio = describe([theirs / best for theirs, best in zip(seconds[i], seconds[ours])])
            row["ptrain_ratio"] = ratio
            line += f"   {ratio['median']:6.2f} x ({ratio['min']:.2f} .. {ratio['max']:.2f})"
        print(line)
        rows.append(row)
    sys.stdout.flush()
    return {"workload": "the book's whole program", "programs": rows}


def find_peers(isa):
    """The peers that can run here; says what is missing for the others."""
    peers, missing = [], []
    python = find_python()
    if python:
        peers.append(Peer("NumPy, plain", [python, os.path.join(PEERS, "numpy_plain.py")], True))
        peers.append(Peer("NumPy, tuned", [python, os.path.join(PEERS, "numpy_tuned.py")], True))
    else:
        missing.append(("NumPy", "python3-numpy"))
    if python and can_import(python, "torch"):
        peers.append(Peer("PyTorch, plain", [python, os.path.join(PEERS, "torch_plain.py")], True))
        peers.append(Peer("PyTorch, by hand", [python, os.path.join(PEERS, "torch_manual.py")], True))
    else:
        missing.append(("PyTorch", "python3-numpy python3-torch"))
    eigen = build_eigen(isa)
    if eigen:
        peers.append(Peer("Eigen loop", [eigen], False, (["--mode", "split"], ["--mode", "gemm"])))
    else:
        missing.append(("Eigen", "g++ libeigen3-dev"))
    libraries = f"/usr/lib/{os.uname().machine}-linux-gnu/"
    if not os.path.isdir(libraries + OPENBLAS_BUILDS[0]):
        missing.append(("OpenBLAS for OpenMP, the best at 2 threads", "libopenblas0-openmp"))
    for what, packages in missing:
        print(f"missing: {what}; to compare with it: apt-get install {packages}")
    return peers


def chosen(words, name):
    """Whether `name` holds the words whole: "batch 1" is not in "batch 100"."""
    return not words or re.search(rf"\b{re.escape(words)}\b", name) is not None


def parse_arguments():
    parser = argparse.ArgumentParser(description="ptrain beside NumPy, PyTorch and Eigen.")
    parser.add_argument("--rounds", type=int, default=9, help="of the training rates")
    parser.add_argument("--whole-rounds", type=int, default=3, help="of the whole program")
    parser.add_argument("--seconds", type=float, default=0.5, help="of training, a program and round")
    parser.add_argument("--only", default="", help="workloads whose name holds these words (or: whole)")
    parser.add_argument("--threads", default="1,2", help="thread counts, as 1,2")
    parser.add_argument("--isa", choices=["best", "avx2"], default="best",
                        help="avx2 holds all programs to AVX2")
    parser.add_argument("--quick", action="store_true", help="3 short rounds: does it work?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.whole_rounds, arguments.seconds = 3, 1, 0.1
    return arguments


def main():
    arguments = parse_arguments()
    os.makedirs(OUT, exist_ok=True)
    if not os.path.exists(os.path.join(TOP, "ptrain")):
        sys.exit("compare.py: no ./ptrain: type make first")
    if not os.path.exists(os.path.join(TOP, "data/mnist/train-images-idx3-ubyte")):
        sys.exit("compare.py: no data/mnist: type make mnist first")
    name, flags = cpu()
    cores = len(os.sched_getaffinity(0))
    threads = [int(count) for count in arguments.threads.split(",")]
    print(f"{name}, {cores} core{'s' if cores > 1 else ''} for this process;"
          f" {arguments.rounds} rounds of {arguments.seconds} s")
    peers = find_peers(arguments.isa)
    results = []
    folder = os.path.join(tempfile.mkdtemp(prefix="ptrain-compare-"), "run")
    try:
        for workload in WORKLOADS:
            for count in threads:
                if chosen(arguments.only, workload[0]):
                    results.append(compare_rates(workload, count, peers, arguments, flags, folder))
        if chosen(arguments.only, "whole program"):
            results.append(compare_whole(threads, peers, arguments, flags, folder))
    finally:
        shutil.rmtree(os.path.dirname(folder), ignore_errors=True)
    path = os.path.join(OUT, "compare.json")
    with open(path, "w") as file:
        json.dump({"cpu": name, "cores": cores, "isa": arguments.isa, "rounds": arguments.rounds,
                   "seconds": arguments.seconds, "results": results}, file, indent=1)
        file.write("\n")
    print(f"\nwritten: {os.path.relpath(path, os.getcwd())}")


if __name__ == "__main__":
    main()
