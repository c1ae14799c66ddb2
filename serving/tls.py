"""TLS and mutual TLS, from TF Serving's SSLConfig.

TF Serving encrypts gRPC alone; here the same certificate serves REST too.
"""

import os
import ssl
import tempfile

import grpc

from serving.options import TlsOptions
from serving.text_config import ConfigFileError, ssl_config


def read(path: str) -> TlsOptions:
    """The options in an `SSLConfig` file.

    Raises:
        ConfigFileError: it cannot be read, or its texts are no usable key and
            certificates. The message quotes none of them.
    """
    found = ssl_config(path)
    for name in ("server_key", "server_cert"):
        if not getattr(found, name):
            raise ConfigFileError(f"{path}: {name} is missing: a PEM text, no path")
    if found.client_verify and not found.custom_ca:
        raise ConfigFileError(
            f"{path}: client_verify needs custom_ca: the certificates of the "
            "authorities that clients' certificates come from"
        )
    options = TlsOptions(
        found.server_key, found.server_cert, found.custom_ca, found.client_verify
    )
    try:
        ssl_context(options)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigFileError(
            f"{path}: server_key, server_cert and custom_ca are expected to be PEM "
            f"texts, the key that of the certificate: {error}"
        ) from error
    return options


def grpc_credentials(options: TlsOptions) -> grpc.ServerCredentials:
    """What a gRPC server's secure port takes."""
    pair = options.server_key.encode(), options.server_cert.encode()
    return grpc.ssl_server_credentials(
        [pair],
        root_certificates=options.custom_ca.encode() or None,
        require_client_auth=options.client_verify,
    )


def ssl_context(options: TlsOptions) -> ssl.SSLContext:
    """What an HTTP server takes.

    Raises:
        ssl.SSLError, ValueError: where the texts are not usable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # `ssl` reads key and certificate from files only; nobody else can read these.
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, text in (("cert", options.server_cert), ("key", options.server_key)):
            paths.append(os.path.join(folder, name))
            with open(paths[-1], "w", encoding="ascii", errors="strict") as file:
                file.write(text)
        context.load_cert_chain(*paths)
    if options.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=options.custom_ca)
    return context
