"""The metadata service on loopback, by network-bench's requests: how many a second, one after the other, each on a
connection of its own, since EC2's service closes it after every success: there is none to keep. Beside it, as a
yardstick and no peer, Python's own HTTP server, which says the same word to every request."""

import http.server
import os
import re
import subprocess
import sys

import network
from launch import Failed

WHERE = re.compile(rb"http://(127\.0\.0\.1:[0-9]+)/")
YARDSTICK = "python http.server"
BODY = b"i-0123456789abcdef0"


class SameWord(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is one segment, and goes at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    do_PUT = do_GET

    def log_message(self, *_):
        pass


def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SameWord)
    print(f"serving at http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
    server.serve_forever()


def asked(command, program):
    """Starts it, measures it where it says that it serves, and ends it."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except OSError as cause:
        raise Failed(f"{command[0]} cannot be started: {cause.strerror}") from cause
    said = b""
    with child:
        try:
            for line in child.stderr:
                said += line
                found = WHERE.search(line)
                if found:
                    return network.measured([program, "requests", found[1].decode()])
        finally:
            child.terminate()
    raise Failed(f"{' '.join(command)}\nserved nothing; it said:\n{said.decode(errors='replace')}")


def measure(table, tiny, program, record):
    commands = {
        "ami-run": [tiny.program, "metadata", tiny.image, "--listen", "127.0.0.1:0"],
        YARDSTICK: [sys.executable, os.path.abspath(__file__)],
    }
    results = {name: asked(command, program) for name, command in commands.items()}
    record["metadata"] = {"commands": commands, "results": results}
    ours, theirs = (result["requests_per_second"] for result in results.values())
    table.rates("metadata requests", ours, "/s", YARDSTICK, theirs)


if __name__ == "__main__":
    serve()
