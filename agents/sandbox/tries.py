"""What `proof.py` runs inside a sandbox: try to get out, and print as JSON what was possible.

It imports nothing of ours, since a sandbox shows nothing of ours; it is passed as text. Its argument is a JSON
document: where the secret lies, what to connect to, how many processes and how much memory would be too many.
Printed is {what: ""} for what was refused, {what: how it was done} for what was not.
"""

import glob
import json
import os
import signal
import socket
import sys
import time


def environment(given: dict) -> str:
    """The secret stands in the environment of a process outside, and perhaps in our own."""
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/task/*/environ"):
        try:
            with open(path, "rb") as file:
                if given["secret"].encode() in file.read():
                    return f"{path} shows it"
        except OSError:
            continue
    return "our own has it" if given["secret"] in str(dict(os.environ)) else ""


def read(given: dict) -> str:
    try:
        with open(given["file"]) as file:
            return f"{given['file']} reads {len(file.read())} characters"
    except OSError:
        return ""


def write(given: dict) -> str:
    """Beside the work folder, into the system, and into the kernel's settings, which root could write elsewhere."""
    for path in given["writes"]:
        try:
            if path.startswith("/proc/"):
                os.close(os.open(path, os.O_WRONLY))  # opening changes nothing yet
            else:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                os.unlink(path)
            return f"{path} could be opened to write"
        except OSError:
            continue
    return ""


def network(given: dict) -> str:
    """TCP and UDP to a listener on this machine, and a name of another."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(socket.AF_INET, kind) as one:
                one.settimeout(2.0)
                one.connect(("127.0.0.1", given["port"]))
                one.send(b"x")
                if kind == socket.SOCK_STREAM:
                    return f"connected to port {given['port']} of this machine"
                one.connect(("192.0.2.1", 9))  # an address that nobody has, RFC 5737: is there a way out at all?
                return "UDP has a way out"
        except OSError:
            continue
    return ""


def processes(given: dict) -> str:
    children: list = []
    try:
        while len(children) <= given["processes"]:
            child = os.fork()
            if child == 0:
                time.sleep(60.0)
                os._exit(0)
            children.append(child)
        return f"{len(children)} of them run at once"
    except OSError:
        return ""
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def memory(given: dict) -> str:
    child = os.fork()
    if child == 0:
        try:
            os._exit(len(b"x" * given["memory"]) != given["memory"])
        except MemoryError:
            os._exit(1)
    return "" if os.waitpid(child, 0)[1] else f"{given['memory']} bytes were given"


def file_size(given: dict) -> str:
    try:
        with open("large", "wb") as file:
            file.truncate(given["file_bytes"])
            return f"a file of {given['file_bytes']} bytes was made"
    except OSError:
        return ""


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    tries = (environment, read, write, network, file_size, processes, memory)
    print(json.dumps({one.__name__: one(given) for one in tries}))
