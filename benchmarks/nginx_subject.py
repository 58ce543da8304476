"""nginx as a subject, and the yardstick of all ratios: it forwards the same requests and does no more."""

from __future__ import annotations

import os
import shutil

from benchmarks.process import descendants
from benchmarks.stage import CLIENT_HEADERS, Stage, free_port
from benchmarks.subject import Subject

# Two entrances: streams must not be buffered, and whole answers are buffered as by default.
NGINX_CONFIGURATION = """\
{user}worker_processes 1;
daemon off;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx.log warn;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {scratch}/nginx-body;
    proxy_temp_path {scratch}/nginx-proxy;
    fastcgi_temp_path {scratch}/nginx-fastcgi;
    uwsgi_temp_path {scratch}/nginx-uwsgi;
    scgi_temp_path {scratch}/nginx-scgi;
    client_max_body_size 64m;
    client_body_buffer_size 512k;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
    tcp_nodelay on;
    upstream provider {{
        server 127.0.0.1:{upstream_port};
        keepalive 2048;
        keepalive_requests 100000000;
        keepalive_timeout 3600s;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_read_timeout 300s;
    server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://provider; }} }}
    server {{
        listen 127.0.0.1:{stream_port} backlog=4096;
        location / {{ proxy_pass http://provider; proxy_buffering off; }}
    }}
}}
"""


def start_nginx(stage: Stage) -> Subject | None:
    """nginx with one worker and a keep-alive pool; None when it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return None
    port, stream_port = free_port(), free_port()
    configuration = stage.scratch / "nginx.conf"
    configuration.write_text(
        NGINX_CONFIGURATION.format(
            # Without it a worker of root's nginx becomes nobody, and cannot enter our folder.
            user="user root;\n" if os.geteuid() == 0 else "",
            scratch=stage.scratch,
            port=port,
            stream_port=stream_port,
            upstream_port=stage.upstream_port,
            connections=8192,
            files=20_000,
        ),
        encoding="utf-8",
    )
    process = stage.start("nginx", [program, "-c", str(configuration), "-p", str(stage.scratch)])
    stage.wait_for_port("nginx", process, port)
    subject = Subject(
        "nginx",
        port,
        CLIENT_HEADERS,
        stream_port=stream_port,
        groups=lambda: {"nginx": [process.pid, *descendants(process.pid)]},
        pinned=("nginx",),
    )
    stage.wait_for_answer(subject, process, b'{"model":"bench-1kb","messages":[]}')
    return subject
