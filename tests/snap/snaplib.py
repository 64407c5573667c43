"""Guests for the tests of snapshots and forks: VMs with their serial line on a socket."""
import atexit, hashlib, json, os, pathlib, re, shutil, signal, socket, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.chdir(ROOT)
VIREO = "build/vireo"
running = []
tmp = tempfile.mkdtemp(prefix="vireo-snapshot-")
os.environ["XDG_RUNTIME_DIR"] = tmp


def running_vms():
    """Monitors by name; all have their sockets in our directory, forks too."""
    r = subprocess.run([VIREO, "list", "--json"], capture_output=True, text=True, timeout=120)
    return {v["name"]: v["pid"] for v in json.loads(r.stdout or "[]")}


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])


@atexit.register
def clean_up():
    for p in running:
        p.terminate()
    for p in running:
        try:
            p.wait(10)
        except subprocess.TimeoutExpired:
            p.kill()
    for pid in running_vms().values():  # forks are nobody's children
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    shutil.rmtree(tmp, ignore_errors=True)


for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: sys.exit(1))  # so that clean_up() runs


def vireo(*args, **kw):
    return subprocess.run([VIREO, *args], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, **kw)


class Guest:
    """A VM with its serial line on a socket."""

    def __init__(self, *args, name, attach=None, poll=0.05):
        self.name, self.path, self.out = name, attach or f"{tmp}/{name}.serial", b""
        if not attach:
            self.proc = subprocess.Popen([VIREO, *args, "--name", name, "--serial",
                                          f"unix:{self.path}"], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            running.append(self.proc)
        self.sock = socket.socket(socket.AF_UNIX)
        by = time.monotonic() + 30
        while time.monotonic() < by:
            try:
                self.sock.connect(self.path)
                break
            except OSError:
                time.sleep(poll)

    def type(self, text):
        self.sock.sendall(text.encode())

    def expect(self, pattern, seconds=60):
        by = time.monotonic() + seconds
        while True:
            m = re.search(pattern.encode(), self.out)
            if m:
                self.out = self.out[m.end():]
                return m
            left = by - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                got = self.sock.recv(65536)
            except TimeoutError:
                return None
            if not got:
                return None
            self.out += got

    def run(self, command, pattern=r"(?s)<<(.*?)>>", seconds=60):
        """The output of a shell command."""
        self.type(f"echo '<''<'; {command}; echo '>''>'\n")
        m = self.expect(pattern, seconds)
        return m[1].decode().replace("\r", "").strip() if m else None


def sha(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def stop(name):
    return vireo("stop", "-f", name).returncode == 0


def quickstart():
    out = subprocess.run(["tools/quickstart", "--quiet"], capture_output=True, text=True).stdout
    v = dict(re.findall(r"(\w+)='?([^'\n]+)'?", out))
    return v["KERNEL"], v["INITRD"]
