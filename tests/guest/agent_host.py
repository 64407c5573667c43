# SPDX-License-Identifier: Apache-2.0
"""The host end of docs/guest-agent.md, with QEMU TCG as the machine.

It proves the agent and the initramfs without our engine: the four ports are
virtserialports on unix sockets. run() is `vireo run -- CMD` in Python.
"""
import os, selectors, socket, struct, subprocess, tempfile, time

PORTS = ("ctl", "stdin", "stdout", "stderr")
CMDLINE = "console=ttyS0 quiet vireo.run"


class Guest:
    def __init__(self, kernel, initrd, net="user", cmdline=CMDLINE, memory="512M"):
        self.dir = tempfile.mkdtemp(prefix="vireo-agent-")
        listeners = {}
        args = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-M", "pc", "-m", memory,
                "-nodefaults", "-display", "none", "-no-reboot", "-kernel", kernel,
                "-initrd", initrd, "-append", cmdline,
                "-serial", f"file:{self.dir}/console", "-device", "virtio-serial-pci"]
        for name in PORTS:
            s = socket.socket(socket.AF_UNIX)
            s.bind(f"{self.dir}/{name}")
            s.listen(1)
            listeners[name] = s
            args += ["-chardev", f"socket,id={name},path={self.dir}/{name}",
                     "-device", f"virtserialport,chardev={name},name=vireo.{name}"]
        if net:
            args += ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="]
        self.started = time.monotonic()
        self.qemu = subprocess.Popen(args)
        self.sock = {}
        for name, s in listeners.items():
            s.settimeout(20)
            self.sock[name] = s.accept()[0]
            s.close()
        self.rx = b""

    def send(self, kind, payload=b""):
        self.sock["ctl"].sendall(kind.encode() + b"\0\0\0" + struct.pack("<I", len(payload)) + payload)

    def frames(self, data):
        self.rx += data
        while len(self.rx) >= 8:
            n = struct.unpack_from("<I", self.rx, 4)[0]
            if len(self.rx) < 8 + n:
                return
            kind, payload = chr(self.rx[0]), self.rx[8:8 + n]
            self.rx = self.rx[8 + n:]
            yield kind, payload

    def close(self):
        self.qemu.kill()
        self.qemu.wait()
        for s in self.sock.values():
            s.close()
        for n in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, n))
        os.rmdir(self.dir)


class Result:
    def __init__(self):
        self.status = None
        self.out = bytearray()
        self.err = bytearray()
        self.hello_s = self.total_s = None


def run(kernel, initrd, argv, stdin=b"", env=(), cwd=None, tty=None, timeout=120, on_output=None,
        bye=True, **kw):
    """Run argv in a fresh guest. on_output(guest, result) is called after each piece of output."""
    g = Guest(kernel, initrd, **kw)
    r = Result()
    want = None
    pending = memoryview(stdin or b"")
    sel = selectors.DefaultSelector()
    for name, s in g.sock.items():
        s.setblocking(name == "ctl")
        sel.register(s, selectors.EVENT_READ, name)
    try:
        while time.monotonic() - g.started < timeout:
            if want and len(r.out) >= want[1] and len(r.err) >= want[2]:
                break
            for key, events in sel.select(0.5):
                if events & selectors.EVENT_WRITE:
                    n = key.fileobj.send(pending[:65536])
                    pending = pending[n:]
                    if not pending:
                        sel.modify(key.fileobj, selectors.EVENT_READ, "stdin")
                        g.send("I", struct.pack("<Q", len(stdin)))
                    continue
                data = key.fileobj.recv(65536)
                if not data:
                    sel.unregister(key.fileobj)
                    continue
                if key.data in ("stdout", "stderr"):
                    (r.out if key.data == "stdout" else r.err).extend(data)
                    if on_output:
                        on_output(g, r)
                for kind, p in g.frames(data) if key.data == "ctl" else ():
                    if kind == "H":
                        r.hello_s = time.monotonic() - g.started
                        words = [b"a" + a.encode() for a in argv] + [b"e" + e.encode() for e in env]
                        if cwd:
                            words.append(b"d" + cwd.encode())
                        if tty:
                            words.append(b"t" + tty.encode())
                        g.send("R", b"".join(w + b"\0" for w in words))
                        if stdin:
                            sel.modify(g.sock["stdin"], selectors.EVENT_READ | selectors.EVENT_WRITE, "stdin")
                        elif stdin is not None:
                            g.send("I", struct.pack("<Q", 0))
                    elif kind == "X":
                        want = struct.unpack("<IQQ", p)
                        r.status = want[0]
        r.total_s = time.monotonic() - g.started
        r.counts = want
        if bye and want:
            g.send("B")
            try:
                r.qemu_status = g.qemu.wait(20)
            except subprocess.TimeoutExpired:
                r.qemu_status = None
            r.off_s = time.monotonic() - g.started
        with open(f"{g.dir}/console", "rb") as f:
            r.console = f.read()
    finally:
        g.close()
    return r
