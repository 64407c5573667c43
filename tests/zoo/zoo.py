# SPDX-License-Identifier: Apache-2.0
"""Foreign guests on the software engine: what tests/suites/zoo and tests/slow/zoo share."""
import gzip, os, re, shutil, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VIREO = os.path.join(ROOT, os.environ.get("BUILD", "build"), "vireo")
counts = {"passed": 0, "failed": 0, "skipped": 0}

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
echo "SHELL $(/bin/busybox uname -m) $(/bin/busybox cat /sys/hypervisor/type 2>/dev/null)"
/bin/busybox poweroff -f
"""


def check(name, ok, detail=""):
    counts["passed" if ok else "failed"] += 1
    print(f"{'ok  ' if ok else 'FAIL'} {name} {detail if not ok else ''}".rstrip(), flush=True)


def finish():
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if counts["failed"] else 0)


def fetch(*names):
    """The directories of unpacked packages; None (and a skip) if they cannot be had."""
    r = subprocess.run([os.path.join(ROOT, "tests/zoo/fetch"), *names], capture_output=True, text=True)
    if r.returncode:
        counts["skipped"] += 1
        print("skip", r.stderr.strip().splitlines()[-1])
        return None
    return r.stdout.split()


def boot_file(directory, prefix):
    names = [n for n in os.listdir(os.path.join(directory, "boot")) if n.startswith(prefix)]
    return os.path.join(directory, "boot", sorted(names)[0])


def initrd(tmp, busybox):
    """An initramfs whose process 1 says SHELL and powers off."""
    root = tempfile.mkdtemp(dir=tmp)
    for d in ("bin", "proc", "sys", "dev"):
        os.mkdir(os.path.join(root, d))
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    with open(os.path.join(root, "init"), "w") as f:
        f.write(INIT)
    os.chmod(os.path.join(root, "init"), 0o755)
    cpio = subprocess.run("find . | cpio -oH newc --quiet", shell=True, cwd=root, capture_output=True)
    out = os.path.join(tmp, os.path.basename(root) + ".gz")
    with gzip.open(out, "wb", compresslevel=1) as f:
        f.write(cpio.stdout)
    return out


def run(tmp, args, until=None, seconds=120):
    """Boot; returns (status, serial output). Ends when it, or the screen it makes, matches `until`."""
    log = os.path.join(tmp, "serial")
    p = subprocess.Popen([VIREO, "run", "--net", "none", "--serial", f"file:{log}", *args],
                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + seconds
    text = ""
    while time.monotonic() < end:
        status = p.poll()
        if os.path.exists(log):
            text = open(log, errors="replace").read()
        if status is not None or (until and (re.search(until, text) or re.search(until, screen(text)))):
            break
        time.sleep(0.2)
    if p.poll() is None:
        p.terminate()
    p.wait(20)
    return p.returncode, text


def screen(text, rows=26, columns=80):
    """What a terminal shows after `text` (cursor movement and clearing only)."""
    lines = [[" "] * columns for _ in range(rows)]
    r = c = 0
    for m in re.finditer(r"\x1b\[([0-9;?]*)([A-Za-z])|(.)", text, re.S):
        if m.group(2) == "H":
            at = [int(x) for x in m.group(1).split(";") if x] or [1, 1]
            r, c = at[0] - 1, (at[1] if len(at) > 1 else 1) - 1
        elif m.group(2) == "J":
            lines = [[" "] * columns for _ in range(rows)]
        elif m.group(3) == "\n":
            r += 1
        elif m.group(3) == "\r":
            c = 0
        elif m.group(3):
            if r < rows and c < columns:
                lines[r][c] = m.group(3)
            c += 1
    return "\n".join("".join(line).rstrip() for line in lines)
