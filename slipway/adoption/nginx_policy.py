"""Directives of Nginx that Slipway's replace without a change in what visitors get."""

from __future__ import annotations

import re

from slipway.adoption.nginx_config import Directive, size_of

# How TLS is spoken and by which certificate; not whose certificates are asked for.
TLS = (
    r"ssl|ssl_(certificate(_key)?|protocols|ciphers|prefer_server_ciphers|session_\w+|dhparam|ecdh_curve|stapling\w*"
    r"|trusted_certificate|early_data|buffer_size|conf_command)"
)
CONNECTIONS = (
    r"sendfile\w*|tcp_nopush|tcp_nodelay|server_tokens|keepalive_\w+|send_timeout|gzip\w*|brotli\w*"
    r"|reset_timedout_connection|client_header_(timeout|buffer_size)|large_client_header_buffers"
)
# The folder of Slipway's logs, and what names one.
LOGS = "/var/log/nginx/"
LOG_DIRECTIVES = ("access_log", "error_log")
# Everybody has it from Nginx's documentation: its values differ only in whether connections are kept alive.
# https://nginx.org/en/docs/http/websocket.html
HARMLESS_VARIABLES = {"$connection_upgrade"}
# What Nginx accepts by default.
# https://nginx.org/en/docs/http/ngx_http_core_module.html#large_client_header_buffers
HEADER_BUFFERS, HEADER_BUFFER_SIZE = 4, 8 * 2**10


def needs_larger_buffers(one: Directive) -> bool:
    """Whether a directive makes Nginx accept headers (long cookies, say) that it would answer by a 400 otherwise."""
    if one.name == "large_client_header_buffers":
        number, size = one.arguments
        return int(number) > HEADER_BUFFERS or size_of(size) > HEADER_BUFFER_SIZE
    return one.name == "client_header_buffer_size" and size_of(one.arguments[0]) > HEADER_BUFFER_SIZE


def serves_compressed_only(one: Directive) -> bool:
    """Whether only a file's compressed form need exist."""
    return re.fullmatch(r"(gzip|brotli)_static", one.name) is not None and one.arguments == ("always",)
