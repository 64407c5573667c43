#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every operation and schema of docs/api/*.yaml against a vireo-vm: usage: check_spec.py vireo-vm KERNEL INITRD

Answers must be those the documents allow, bodies must fit their schemas. For every field of every request
body: it is known, a wrong type is refused by its name, a required one that is missing too. The route
tables and the documents name the same operations. Standard library, PyYAML and jsonschema only."""
import http.client, json, os, re, shutil, socket, subprocess, sys, tempfile, time
import jsonschema, yaml

monitor, kernel, initrd = sys.argv[1:4]
top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
tmp = tempfile.mkdtemp()
passed = failed = 0


def check(ok, what):
    global passed, failed
    passed += bool(ok)
    failed += not ok
    if not ok:
        print("FAIL", what[:400])


class Connection(http.client.HTTPConnection):
    """http.client over a Unix socket, as the usual clients do it."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Vm:
    def __init__(self):
        self.sock = os.path.join(tmp, "s")
        args = [monitor, "--api-sock", self.sock, "--level", "Error"] + os.environ.get("API_ARGS", "").split()
        self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not os.path.exists(self.sock):
            time.sleep(0.01)
        self.conn = Connection(self.sock)

    def ask(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        self.conn.request(method.upper(), path, text, {"Content-Type": "application/json"} if text else {})
        r = self.conn.getresponse()
        data = r.read()
        return r.status, json.loads(data) if data else None

    def close(self):
        self.conn.close()
        self.proc.kill()
        self.proc.wait()
        if os.path.exists(self.sock):
            os.unlink(self.sock)


def strict(schema):
    """A copy in which objects have no more than their properties."""
    if isinstance(schema, dict):
        s = {k: strict(v) for k, v in schema.items()}
        if "properties" in s and isinstance(s["properties"], dict) and s.get("type") == "object":
            s.setdefault("additionalProperties", False)
        return s
    return [strict(v) for v in schema] if isinstance(schema, list) else schema


def resolve(doc, node):
    while isinstance(node, dict) and "$ref" in node:
        target = doc
        for part in node["$ref"].lstrip("#/").split("/"):
            target = target[part]
        node = target
    return node


def fits(doc, schema, value):
    root = dict(strict(schema))
    root["definitions"] = strict(doc.get("definitions", {}))
    root["components"] = strict(doc.get("components", {}))
    try:
        jsonschema.Draft7Validator(root).validate(value)
        return ""
    except jsonschema.ValidationError as e:
        return e.message


def answer_schema(doc, op, status):
    r = op["responses"].get(status, op["responses"].get(str(status), op["responses"].get("default")))
    r = resolve(doc, r)
    if not r:
        return None, False
    if "content" in r:
        return list(r["content"].values())[0]["schema"], True
    return r.get("schema"), True


def check_answer(doc, op, where, status, body):
    schema, known = answer_schema(doc, op, status)
    check(known and status in (200, 204, 400, 404, 405, 409, 413, 501, 503), f"{where}: status {status}: {body}")
    if status == 204:
        check(body is None, f"{where}: 204 with a body")
    elif schema is None:
        check(False, f"{where}: {status} has no schema")
    else:
        why = fits(doc, schema, body)
        check(not why, f"{where}: {status}: {why}")


def body_schema(doc, op):
    for p in op.get("parameters", []):
        if p.get("in") == "body":
            return resolve(doc, p["schema"])
    rb = op.get("requestBody")
    return resolve(doc, rb["content"]["application/json"]["schema"]) if rb else None


disk = os.path.join(tmp, "disk")
pmem = os.path.join(tmp, "pmem")
for name in (disk, pmem):
    open(name, "wb").truncate(4 << 20)
limiter = {"bandwidth": {"size": 1000, "refill_time": 100, "one_time_burst": 5}, "ops": {"size": 10, "refill_time": 10}}
GOOD = {  # bodies that are right, before the start
    "/actions": {"action_type": "FlushMetrics"},
    "/balloon": {"amount_mib": 8, "deflate_on_oom": True, "stats_polling_interval_s": 1},
    "/balloon/statistics": {"stats_polling_interval_s": 2},
    "/boot-source": {"kernel_image_path": kernel, "initrd_path": initrd, "boot_args": "console=ttyS0 quiet"},
    "/cpu-config": {"cpuid_modifiers": [], "msr_modifiers": [], "kvm_capabilities": []},
    "/drives/{drive_id}": {"drive_id": "d", "path_on_host": disk, "is_root_device": False, "is_read_only": False,
                           "rate_limiter": limiter},
    "/pmem/{id}": {"id": "d", "path_on_host": pmem, "root_device": False},
    "/logger": {"level": "Error", "log_path": os.path.join(tmp, "log")},
    "/machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "smt": False, "track_dirty_pages": False},
    "/metrics": {"metrics_path": os.path.join(tmp, "metrics"), "properties": {"a": "b"}},
    "/mmds": {"a": {"b": "c"}},
    "/mmds/config": {"network_interfaces": ["none"]},
    "/entropy": {"rate_limiter": limiter},
    "/serial": {"serial_out_path": os.path.join(tmp, "serial")},
    "/hotplug/memory": {"total_size_mib": 256},
    "/network-interfaces/{iface_id}": {"iface_id": "d", "host_dev_name": "vireotest0"},
    "/snapshot/create": {"snapshot_path": os.path.join(tmp, "snap"), "mem_file_path": os.path.join(tmp, "mem")},
    "/snapshot/load": {"snapshot_path": os.path.join(tmp, "snap"),
                       "mem_backend": {"backend_type": "File", "backend_path": os.path.join(tmp, "mem")}},
    "/vm": {"state": "Paused"},
    "/vsock": {"guest_cid": 3, "uds_path": os.path.join(tmp, "vsock")},
    "/vireo/v1/disks/{id}/snapshot": {"name": "x"},
    "/vireo/v1/disks/{id}/commit": {"path": disk},
    "/vireo/v1/disks/{id}/mirror": {"path": os.path.join(tmp, "none"), "format": "raw", "existing": True},
    "/vireo/v1/disks/{id}/resize": {"size": 4 << 20},
    "/vireo/v1/disks/{id}/bitmaps": {"action": "add", "name": "x"},
    "/vireo/v1/disks/{id}/limits": limiter,
    "/vireo/v1/vm/actions/save": {"freeze": False},
}
PATCH = {
    "/balloon": {"amount_mib": 4},
    "/drives/{drive_id}": {"drive_id": "d", "rate_limiter": limiter},
    "/pmem/{id}": {"id": "d", "rate_limiter": limiter},
    "/hotplug/memory": {"requested_size_mib": 128},
    "/network-interfaces/{iface_id}": {"iface_id": "d", "rx_rate_limiter": limiter},
    "/mmds": {"a": None},
    "/machine-config": {"mem_size_mib": 128},
}


def good_body(method, path):
    return PATCH.get(path, GOOD.get(path)) if method == "patch" else GOOD.get(path)


def operations(doc):
    for path, item in doc["paths"].items():
        for method, op in item.items():
            if method in ("get", "put", "patch", "post", "delete"):
                yield path, method, op


def concrete(path):
    return re.sub(r"\{\w+\}", "d", path)


def text_of(body):
    return json.dumps(body, ensure_ascii=False) if body else ""


def wrong_type(schema):
    return 5 if schema.get("type") == "string" or "enum" in schema else "five"


ABSENT = {"reg_modifiers", "vcpu_features"}  # of other processors; refused as Firecracker does here


def check_fields(doc, vm, path, method, op):
    """One request for each way in which a field can be wrong."""
    schema, good = body_schema(doc, op), good_body(method, path)
    where = f"{method.upper()} {path}"
    if not schema or not schema.get("properties"):
        return
    if good is None:
        good = {}

    def refused(body, name, what):
        status, reply = vm.ask(method, concrete(path), body)
        check(status == 400 and name in text_of(reply), f"{where}: {what} {name}: {status} {text_of(reply)}")

    refused({**good, "zz_unknown": 1}, "zz_unknown", "unknown field")
    for name in schema.get("required", []) if not (method == "patch" and path == "/machine-config") else []:
        refused({k: v for k, v in good.items() if k != name}, name, "missing field")
    for name, sub in schema["properties"].items():
        sub = resolve(doc, sub)
        if name in ABSENT:
            continue
        refused({**good, name: wrong_type(sub)}, name, "wrong type of")
        if name not in good:
            value = {"string": "x", "integer": 1, "boolean": True, "array": [], "object": {}}[sub.get("type", "string")]
            _, reply = vm.ask(method, concrete(path), {**good, name: value})
            check("unknown field" not in text_of(reply), f"{where}: {name} is not known")


def ask_all(doc, vm, state, skip=()):
    for path, method, op in operations(doc):
        if path in skip:
            continue
        where = f"{state}: {method.upper()} {path}"
        body = good_body(method, path) if body_schema(doc, op) is not None else None
        status, reply = vm.ask(method, concrete(path), body)
        check_answer(doc, op, where, status, reply)


def check_routes(docs):
    """The tables in src/api name what the documents name, and the other way round."""
    known = {(m, re.sub(r"\{\w+\}", "{}", p)) for d in docs for p, m, _ in operations(d)}
    found = set()
    src = os.path.join(top, "src/api")
    for f in sorted(os.listdir(src)):
        if not f.endswith(".c") or f.endswith("_test.c"):
            continue
        text = open(os.path.join(src, f)).read()
        for name, value in re.findall(r'#define (\w+)\s+"(/[^"]*)"', text):
            text = re.sub(r"\b%s\b(\s*\")?" % name, lambda m: '"' + value + ("" if m[1] else '"'), text)
        for method, path in re.findall(r'\{\s*HTTP_(\w+), "([^"]+)"', text):
            found.add((method.lower(), re.sub(r"\{\w+\}", "{}", path)))
    hidden = {("delete", p) for p in ("/drives/{}", "/pmem/{}", "/network-interfaces/{}")}  # not in the document
    for m, p in sorted(known - found):
        check(False, f"no route for {m} {p}")
    for m, p in sorted(found - known - hidden):
        check(False, f"not in docs/api: {m} {p}")
    check(len(found) > 40, f"only {len(found)} routes found")


def main():
    fc = yaml.safe_load(open(os.path.join(top, "docs/api/firecracker.yaml")))
    ours = yaml.safe_load(open(os.path.join(top, "docs/api/vireo-vm.yaml")))
    check_routes([fc, ours])

    vm = Vm()
    ends = ("/snapshot/load", "/vireo/v1/vm/actions/stop")  # end the process
    for path, method, op in operations(fc):
        check_fields(fc, vm, path, method, op)
    vm.close()
    for f in ("vsock", "metrics"):
        if os.path.exists(os.path.join(tmp, f)):
            os.unlink(os.path.join(tmp, f))

    vm = Vm()
    ask_all(fc, vm, "before", ends)
    ask_all(ours, vm, "before", ends)
    status, reply = vm.ask("put", "/actions", {"action_type": "InstanceStart"})
    check(status == 204, f"InstanceStart: {status} {reply}")
    for d in (fc, ours):
        for path, method, op in operations(d):
            if d is ours:
                check_fields(d, vm, path, method, op)
    for state in ("running", "paused"):
        vm.ask("patch", "/vm", {"state": "Paused" if state == "paused" else "Resumed"})
        ask_all(fc, vm, state, ends + ("/vm",))
        ask_all(ours, vm, state, ends)
    status, reply = vm.ask("patch", "/vm", {"state": "Resumed"})
    check(status == 204, f"resume: {status} {reply}")
    vm.close()


try:
    main()
finally:
    shutil.rmtree(tmp)
print(f"{passed} passed, {failed} failed, 0 skipped")
sys.exit(failed != 0)
