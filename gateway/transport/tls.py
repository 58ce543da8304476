"""The TLS context of one provider: whom we trust, and as whom we come."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

from gateway.transport.options import TransportOptions, UnusableOptions

# Where distributions keep the system's bundle, for interpreters built with another path of their own.
_SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)


def client_context(options: TransportOptions) -> ssl.SSLContext:
    """A verifying context with the CA bundle or the system's trust, and the client certificate if any.

    SSL_CERT_FILE and SSL_CERT_DIR are not read: what is trusted stands in the configuration.
    Raises UnusableOptions, naming the option and the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if options.ca_bundle is not None:
        _trust(context, options.ca_bundle)
    else:
        _trust_system(context)
    if options.client_certificate is not None:
        try:
            context.load_cert_chain(options.client_certificate, options.client_key)
        except (OSError, ValueError) as error:
            files = f"{options.client_certificate} (key: {options.client_key or 'in it'})"
            raise UnusableOptions(f"client_certificate {files}: {error}") from None
    return context


def _trust(context: ssl.SSLContext, bundle: Path) -> None:
    try:
        if bundle.is_dir():
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(cafile=bundle)
    except (OSError, ValueError) as error:
        raise UnusableOptions(f"ca_bundle {bundle}: {error}") from None


def _trust_system(context: ssl.SSLContext) -> None:
    if sys.platform == "win32":
        context.load_default_certs()
        return
    built_in = ssl.get_default_verify_paths()
    files = [path for path in (Path(built_in.openssl_cafile), *_SYSTEM_BUNDLES) if path.is_file()]
    directory = Path(built_in.openssl_capath)
    if files:
        context.load_verify_locations(cafile=files[0])
    if directory.is_dir():
        context.load_verify_locations(capath=directory)
    if not files and not directory.is_dir():
        raise UnusableOptions("no system certificates found; install ca-certificates or set ca_bundle")
