"""A preprocessor of mdBook, for links that work where the pages are read in the repository.

A link to a file that is not in the book becomes the name of the file. A README.md is a folder's index.html in the book.
"""

import json
import posixpath
import re
import sys

LINK = re.compile(r"(?P<text>\[[^\[\]]*\])\((?P<path>[^):#]+)(?P<anchor>#[^)]*)?\)")


def for_the_book(text, folder):
    def link(found):
        path = posixpath.normpath(posixpath.join("docs", folder, found["path"]))
        if not path.startswith("docs/"):
            return f"`{path}`"
        if posixpath.basename(path) == "README.md":
            return f"{found['text']}({found['path'].removesuffix('README.md')}index.md{found['anchor'] or ''})"
        return found[0]

    return LINK.sub(link, text)


def visit(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter and chapter["source_path"]:
            chapter["content"] = for_the_book(chapter["content"], posixpath.dirname(chapter["source_path"]))
            visit(chapter["sub_items"])


if sys.argv[1:2] == ["supports"]:
    sys.exit(0 if sys.argv[2] == "html" else 1)
_, book = json.load(sys.stdin)
visit(book["items"])
json.dump(book, sys.stdout)
