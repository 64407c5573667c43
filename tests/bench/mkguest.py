#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/bench/mkguest.py DIR: make the bench guest.

DIR/tree is its root directory, made of the host's Debian programs with their libraries, the programs
of this directory and generated data; the native side of the bench runs in it. DIR/guest.cpio is that
tree as an initramfs, DIR/boot.cpio holds init alone. Nothing is done when nothing changed.
"""
import hashlib
import itertools
import os
import pathlib
import random
import re
import shutil
import stat
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = ["/usr/bin/gzip", "/usr/bin/xz", "/usr/bin/zstd", "/usr/bin/md5sum", "/usr/bin/sha256sum",
            "/usr/bin/perl", "/usr/bin/python3", "/usr/bin/gcc", "/usr/bin/as"]
CC = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]


def out(*cmd):
    return subprocess.run(cmd, check=True, text=True, stdout=subprocess.PIPE).stdout


def workloads():
    """name -> (group, kind, full, quick, command)"""
    rows = [line.split(None, 5) for line in (HERE / "workloads").read_text().splitlines()
            if line.strip() and line[0] != "#"]
    return {r[0]: r[1:] for r in rows}


def merged(name):
    """Debian's /lib and /bin are links into /usr."""
    return "/usr" + name if re.match(r"/(bin|lib|lib64)/", name) else name


class Tree:
    def __init__(self, root):
        self.root = root

    def path(self, name):
        return self.root / name.lstrip("/")

    def add(self, name):
        """The file of the host, the links on the way to it, and the libraries it needs."""
        name = os.path.normpath(name)
        to = self.path(name)
        if os.path.lexists(to):
            return
        to.parent.mkdir(parents=True, exist_ok=True)
        if os.path.islink(name):
            target = os.path.join(os.path.dirname(name), os.readlink(name))
            to.symlink_to(os.path.relpath(target, os.path.dirname(name)))
            return self.add(merged(target))
        shutil.copy2(name, to)
        with open(name, "rb") as f:
            if f.read(4) == b"\x7fELF":
                self.add_libraries(name)

    def add_libraries(self, name):
        text = subprocess.run(["ldd", name], text=True, capture_output=True).stdout
        for lib in re.findall(r"(/\S+) \(0x", text):
            self.add(merged(lib))


def text(size, rng):
    """Words with the frequencies of a language, lines of a log, some numbers: packs to about a third."""
    letters = "etaoinshrdlucmfwypvbgk"
    weights = [1 / (i + 1.5) for i in range(len(letters))]
    vocabulary = ["".join(rng.choices(letters, weights, k=rng.randint(2, 10))) for _ in range(20000)]
    share = list(itertools.accumulate(1 / (i + 3) for i in range(len(vocabulary))))
    parts, total, n = [], 0, 0
    while total < size:
        words = rng.choices(vocabulary, cum_weights=share, k=12)
        line = f"{' '.join(words)}.\n"
        if n % 5 == 0:
            line = f"2024-0{n % 9 + 1}-{n % 28 + 1:02} {words[0]}[{rng.randrange(99999)}]: {words[1]}={rng.random():.6f}\n"
        parts.append(line)
        total += len(line)
        n += 1
    return "".join(parts).encode()[:size]


def put_data(tree):
    where = tree.path("bench")
    data = text(12 << 20, random.Random(1))
    for mb in (1, 2, 4, 8, 12):
        (where / f"text{mb}").write_bytes(data[:mb << 20])
    for mb in (4, 8):
        with open(where / f"text{mb}.xz", "wb") as f:
            subprocess.run(["xz", "-2", "-T1", "-c", str(where / f"text{mb}")], stdout=f, check=True)
    unit = (HERE / "unit.c").read_text()
    for n in (2, 8):
        (where / f"unit{n}.c").write_text("".join(unit.replace("UNIT", str(i)) for i in range(n)))
    # Any key will do: the three results of one run are compared with each other.
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", str(where / "rsa.pem"), "2048"],
                   check=True, stderr=subprocess.DEVNULL)
    shutil.copy(HERE / "workloads", where / "workloads")


def put_programs(tree):
    for p in PROGRAMS:
        tree.add(p)
    for prog in ("cc1",):
        tree.add(out("/usr/bin/gcc", f"-print-prog-name={prog}").strip())
    tree.add("/usr/include/stdc-predef.h")
    for link in ("bin", "lib", "lib64"):  # a merged /usr, as Debian has it
        (tree.root / "usr" / link).mkdir(parents=True, exist_ok=True)
        (tree.root / link).symlink_to(f"usr/{link}")
    tree.add("/usr/lib64/ld-linux-x86-64.so.2")
    put_python(tree)
    put_perl(tree)
    where = tree.path("bench")
    for src, flags in (("benchkit", ["-static"]), ("cryptkit", ["-l:libcrypto.so.3"])):
        subprocess.run([*CC, "-o", str(where / src), str(HERE / f"{src}.c"), *flags], check=True)
    tree.add_libraries(str(where / "cryptkit"))
    subprocess.run([*CC, "-static", "-s", "-o", str(tree.root / "init"), str(HERE / "init.c")], check=True)


def put_python(tree):
    """Only the modules prog.py loads, with their compiled forms."""
    shutil.copy(HERE / "prog.py", tree.path("bench/prog.py"))
    show = ("import sys, importlib.util as u, runpy; sys.argv = ['prog.py', '1']; runpy.run_path(%r); "
            "m = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)]; "
            "print('MODULES', *m, *(u.cache_from_source(f) for f in m if f.endswith('.py')))" % str(HERE / "prog.py"))
    for f in out("/usr/bin/python3", "-E", "-s", "-S", "-c", show).split("MODULES")[1].split():
        if f.startswith("/usr/") and os.path.exists(f):
            tree.add(f)
    version = os.path.basename(os.readlink("/usr/bin/python3"))
    for f in ("os.py", "encodings/ascii.py"):  # what Python takes as the mark of its library
        tree.add(f"/usr/lib/{version}/{f}")
    tree.path(f"usr/lib/{version}/lib-dynload").mkdir(exist_ok=True)


def put_perl(tree):
    shutil.copy(HERE / "prog.pl", tree.path("bench/prog.pl"))
    for f in out("/usr/bin/perl", "-e", "use strict; use warnings; print join(qq(\\n), values %INC)").split():
        tree.add(f)


def write_cpio(root, to):
    """The newc format (Documentation/driver-api/early-userspace/buffer-format.rst), with the two device
    nodes a kernel wants before init has mounted anything: only root could keep them in a directory."""
    with open(to, "wb") as f:
        ino = 0

        def entry(name, mode, body=b"", rdev=(0, 0)):
            nonlocal ino
            ino += 1
            fields = (ino, mode, 0, 0, 1, 0, len(body), 0, 0, *rdev, len(name) + 1, 0)
            head = b"070701" + b"".join(b"%08x" % v for v in fields) + name.encode() + b"\0"
            f.write(head + bytes(-len(head) % 4) + body + bytes(-len(body) % 4))

        entry("dev", stat.S_IFDIR | 0o755)
        entry("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
        entry("dev/null", stat.S_IFCHR | 0o666, rdev=(1, 3))
        for p in sorted(root.rglob("*")) if root.is_dir() else [root]:
            name = str(p.relative_to(root)) if root.is_dir() else p.name
            st = p.lstat()
            if stat.S_ISLNK(st.st_mode):
                entry(name, st.st_mode, os.readlink(p).encode())
            else:
                entry(name, st.st_mode, p.read_bytes() if stat.S_ISREG(st.st_mode) else b"")
        entry("TRAILER!!!", 0)
        f.write(bytes(-f.tell() % 512))


def stamp():
    h = hashlib.sha256()
    for f in sorted(HERE.iterdir()):
        if f.name not in ("run", "report") and f.is_file():
            h.update(f.read_bytes())
    for p in PROGRAMS:
        h.update(f"{p} {os.stat(p).st_mtime_ns}".encode())
    return h.hexdigest()


def make(where):
    where = pathlib.Path(where)
    mark = where / "stamp"
    if mark.exists() and mark.read_text() == stamp():
        return
    print("Making the bench guest ...", file=sys.stderr, flush=True)
    mark.unlink(missing_ok=True)
    shutil.rmtree(where / "tree", ignore_errors=True)
    tree = Tree(where / "tree")
    for d in ("bench", "tmp", "dev", "proc"):
        tree.path(d).mkdir(parents=True)
    put_programs(tree)
    put_data(tree)
    write_cpio(tree.root, where / "guest.cpio")
    write_cpio(tree.root / "init", where / "boot.cpio")
    mark.write_text(stamp())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: mkguest.py DIR")
    make(sys.argv[1])
