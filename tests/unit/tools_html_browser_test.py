#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The plan's HTML report in headless Chromium: it parses, draws every part, runs nothing and asks for nothing.

Usage: tools_html_browser_test.py SWITCHYARD. Exit code 77: no Chromium here.

Chromium gets no network but what the report would ask for: every host is mapped to one that does not exist, and its log
must not mention a request or a policy violation. The document that it serialises must hold one drawing per part.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile


def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    return None


def run(arguments, folder):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        sys.exit(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done


def dump(browser, folder, page):
    return run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                f"--user-data-dir={folder}/profile", "--host-resolver-rules=MAP * ~NOTFOUND",
                "--enable-logging=stderr", "--dump-dom", "file://" + os.path.join(folder, page)], folder)


def main():
    browser = chromium()
    if browser is None:
        print("skipped: no chromium on this machine")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        cli = os.path.abspath(sys.argv[1])
        write_load(folder)
        run([cli, "plan", "--load", "load.json", "--experts", "16", "--gpus", "4", "--slots", "20", "--policy",
             "balanced", "--html", "report.html"], folder)
        shown = dump(browser, folder, "report.html")
        check(shown.stdout, shown.stderr, os.path.join(folder, "report.html"))
    print("the report is whole in", os.path.basename(browser))
    return 0


def write_load(folder):
    rows = [[(7 * expert * expert + 31 * layer) % 97 + 1 for expert in range(16)] for layer in range(3)]
    with open(os.path.join(folder, "load.json"), "w", encoding="ascii") as file:
        file.write('{"schema_version": 1, "expert_load": %s}' % rows)


def check(dom, log, path):
    drawings = dom.count("<svg")
    written = open(path, encoding="utf-8").read()
    assert drawings == written.count("<svg") and drawings >= 4, f"{drawings} drawings in the document"
    titles = re.findall(r"<h2>([^<]*)</h2>", dom)
    assert titles == re.findall(r"<h2>([^<]*)</h2>", written) and len(titles) >= 4, titles
    assert "<script" not in dom, "a script in the document"
    assert not re.search(r'(?:src|href)="(?!#)', dom), "the document refers to another file"
    for word in ("Refused to", "Content Security Policy", "ERR_NAME_NOT_RESOLVED", "Uncaught"):
        assert word not in log, f"the browser's log mentions '{word}': {log[-2000:]}"
    assert dom.rstrip().endswith("</html>"), "the document is cut"


if __name__ == "__main__":
    sys.exit(main())
