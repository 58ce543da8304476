"""nginx as a subject, and the yardstick of all ratios: it forwards the same requests and does no more."""

from __future__ import annotations

import os
from dataclasses import replace

from benchmarks.process import descendants
from benchmarks.stage import CLIENT_HEADERS, Stage, free_port
from benchmarks.subject import Subject
from benchmarks.tls_front import TlsFront, find_nginx

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
{tls}}}
"""


TLS_ENTRANCE = """\
    upstream provider_tls {{
        server 127.0.0.1:{front_port};
        keepalive 2048;
        keepalive_requests 100000000;
        keepalive_timeout 3600s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass https://provider_tls;
            proxy_ssl_trusted_certificate {certificate};
            proxy_ssl_verify on;
            proxy_ssl_name 127.0.0.1;
        }}
    }}
"""


def start_nginx(stage: Stage, front: TlsFront | None = None) -> list[Subject]:
    """nginx with one worker and a keep-alive pool; with a TLS front also, as "nginx-tls", the same process'
    way through that. None of both when it is not installed."""
    program = find_nginx()
    if program is None:
        return []
    port, stream_port, tls_port = free_port(), free_port(), free_port()
    tls = ""
    if front is not None:
        tls = TLS_ENTRANCE.format(front_port=front.port, port=tls_port, certificate=front.certificate)
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
            tls=tls,
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
    ways = [subject]
    if front is not None:
        ways.append(replace(subject, name="nginx-tls", port=tls_port, stream_port=None))
    for way in ways:
        stage.wait_for_answer(way, process, b'{"model":"bench-1kb","messages":[]}')
    return ways
