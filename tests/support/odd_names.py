"""Valid file names that are special to a shell, tar, HTTP or a text file."""

import os

ODD_NAMES = [
    "\u00fc ber.js",
    'it\'s "quoted" $HOME `id`.js',
    "-rf",
    "--help.js",
    "new\nline.js",
    "back\\slash.js",
    "line\u2028separator.js",
    "* ?[a].js",
    os.fsdecode(b"no utf-8 \xff.js"),
    f"{'long' * 50}.js",
]
