# SPDX-License-Identifier: Apache-2.0
"""guestkit: what the benchmarks of a guest's disk and network share.

One guest (kernel of the quick start, busybox, one program of the host with its libraries) that says
"@ready" and then takes jobs, a line each, on its serial port; and the CPU time of a process and what
it started.
"""
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VIREO = str(ROOT / "build/vireo")
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "vireo/quickstart"
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests tsc=reliable no_timer_check nokaslr"
START = """#!/bin/sh
export PATH=/usr/bin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir -p /tmp /dev/shm
for m in $(cat /modules/order); do insmod /modules/$m; done
stty -echo < /dev/ttyS0
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
"""


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(/\S+)", out)))


def make_initrd(path, work, program, devices, script):
    """An initramfs at path with program, the modules of the quick start's devices (names of its list)
    and START followed by script as its init; work is an empty folder to build it in."""
    tree = work / "tree"
    modules = next((CACHE / "kernels").glob("*/modules"))
    for d in ("bin", "usr/bin", "modules", "proc", "sys", "dev"):
        (tree / d).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    for name in "sh mount insmod stty cat echo sleep mkdir grep head tail sync poweroff ip ping".split():
        (tree / "bin" / name).symlink_to("busybox")
    shutil.copy(shutil.which(program), tree / "usr/bin" / program)
    for lib in libraries(shutil.which(program)):
        (tree / lib[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lib, tree / lib[1:])
    order = []
    for line in (modules / "load").read_text().splitlines():
        if line.split()[0] in devices:
            order += [m for m in line.split()[1:] if m not in order]
    (tree / "modules/order").write_text(" ".join(order))
    for m in order:
        shutil.copy(modules / m, tree / "modules" / m)
    (tree / "init").write_text(START + script)
    (tree / "init").chmod(0o755)
    names = subprocess.run(["find", ".", "-mindepth", "1"], cwd=tree, capture_output=True, text=True, check=True)
    with open(path, "wb") as f:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.stdout.encode(), stdout=f,
                       check=True)


def children(pid):
    try:
        kids = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(k) for k in kids] + [x for k in kids for x in children(int(k))]


def cpu_seconds(pid):
    """CPU time so far of a process and what it started."""
    total = 0
    for p in [pid] + children(pid):
        try:
            f = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(f[11]) + int(f[12])
    return total / os.sysconf("SC_CLK_TCK")


class Guest:
    """A monitor with the guest in it, ready for jobs."""

    def __init__(self, command):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  start_new_session=True)
        self.buffer = b""
        try:
            self.expect("@ready", 120)
        except SystemExit:
            self.kill()
            raise

    def expect(self, word, limit):
        end = time.monotonic() + limit
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                line = line.decode(errors="replace").strip()
                if line.startswith(word):
                    return line
            if not select.select([self.p.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                raise SystemExit(f"bench: no {word} within {limit} s: {self.buffer[-300:]!r}")
            more = os.read(self.p.stdout.fileno(), 65536)
            if not more:
                raise SystemExit(f"bench: the guest ended: {self.buffer[-300:]!r}")
            self.buffer += more

    def job(self, line, limit):
        """The guest's "@result" to the job, and the monitor's CPU seconds per second meanwhile."""
        c0, t0 = cpu_seconds(self.p.pid), time.monotonic()
        self.p.stdin.write(f"{line}\n".encode())
        self.p.stdin.flush()
        result = self.expect("@result", limit)
        return result, (cpu_seconds(self.p.pid) - c0) / (time.monotonic() - t0)

    def end(self):
        try:
            self.p.stdin.write(b"end\n")
            self.p.stdin.flush()
            self.p.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self.kill()

    def kill(self):
        os.killpg(self.p.pid, signal.SIGKILL)
        self.p.wait()


def vireo_command(engine, initrd, *more):
    return [VIREO, "run", "--engine", engine, "--memory", "512M", "--kernel", str(CACHE / "current/vmlinuz"),
            "--initrd", str(initrd), "--cmdline", CMDLINE, *more]


def qemu_command(engine, initrd, *more):
    return ["qemu-system-x86_64", "-accel", "kvm" if engine == "kvm" else "tcg", "-cpu", "max", "-smp", "1", "-m",
            "512M", "-no-user-config", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-M",
            "q35", "-kernel", str(CACHE / "current/vmlinuz"), "-initrd", str(initrd), "-append", CMDLINE, *more]
