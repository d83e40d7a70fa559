"""
A model server that is only a script, run in place of `PYTHON -m softlaunch.serving` with the same arguments.

Environment: MODE=die (says why and ends with 3), deaf (ignores SIGTERM), silent (never opens its socket), worker (has
a child that outlives it), hangs-later (stops answering once a file RELEASE/hang exists).
"""

import argparse
import http.server
import os
import pathlib
import signal
import socketserver
import subprocess
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v2/health/ready" else 404)
        self.send_header("x-softlaunch-instance", os.environ["SOFTLAUNCH_INSTANCE"])
        self.send_header("content-length", "0")
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m")
    parser.add_argument("--release")
    parser.add_argument("--socket")
    parser.add_argument("--instance")
    options = parser.parse_args()
    assert options.m == "softlaunch.serving"
    assert options.instance == os.environ["SOFTLAUNCH_INSTANCE"]
    mode = os.environ.get("MODE", "")
    print("starting", mode, flush=True)
    if mode == "die":
        print("cannot load model.onnx: it is a teapot", file=sys.stderr)
        sys.exit(3)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "silent":
        time.sleep(600)
    if mode == "worker":
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path(options.release, "worker.pid").write_text(str(worker.pid))
    Server(options.socket, Handler).serve_forever(poll_interval=60)


main()
