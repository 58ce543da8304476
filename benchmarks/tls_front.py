"""The upstream behind TLS: an nginx that ends it, beside the upstream and not on the measured core.

Both ways through it are measured, nginx' and the gateway's, so that what TLS costs each of them can be told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import CannotStart, Stage, free_port

CONFIGURATION = """\
{user}worker_processes 1;
daemon off;
pid {scratch}/tls-front.pid;
error_log {scratch}/tls-front-errors.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {scratch}/tls-body;
    proxy_temp_path {scratch}/tls-proxy;
    fastcgi_temp_path {scratch}/tls-fastcgi;
    uwsgi_temp_path {scratch}/tls-uwsgi;
    scgi_temp_path {scratch}/tls-scgi;
    client_max_body_size 64m;
    client_body_buffer_size 512k;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
    upstream provider {{ server 127.0.0.1:{upstream_port}; keepalive 2048; keepalive_requests 100000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_read_timeout 300s;
    proxy_buffering off;
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{ proxy_pass http://provider; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class TlsFront:
    """Where the upstream is reached by TLS, and the certificate to trust."""

    port: int
    certificate: Path


def find_nginx() -> str | None:
    """The nginx program, which Debian keeps where only root looks; None when it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def start_tls_front(stage: Stage) -> TlsFront | None:
    """The front; None without nginx or openssl. Its certificate is made now, for 127.0.0.1, for a day."""
    nginx, openssl = find_nginx(), shutil.which("openssl")
    if nginx is None or openssl is None:
        return None
    certificate, key = stage.scratch / "tls.pem", stage.scratch / "tls.key"
    made = subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise CannotStart(f"openssl made no certificate: {made.stderr.strip()}")
    port, configuration = free_port(), stage.scratch / "tls-front.conf"
    configuration.write_text(
        CONFIGURATION.format(
            user="user root;\n" if os.geteuid() == 0 else "",
            scratch=stage.scratch,
            upstream_port=stage.upstream_port,
            port=port,
            certificate=certificate,
            key=key,
        ),
        encoding="utf-8",
    )
    process = stage.start("tls-front", [nginx, "-c", str(configuration), "-p", str(stage.scratch)])
    stage.wait_for_port("tls-front", process, port)
    return TlsFront(port, certificate)
