"""Clicks through a report in headless Chromium, over its DevTools protocol, as a reader would.

browse.py PAGE SCREENSHOT PACKAGE   opens, clicks the treemap, moves by keyboard, searches, prints, looks in the dark
browse.py --hostile PAGE            opens a page full of hostile names: they are text, and nothing but our program runs
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket


class Browser:
    def __init__(self, folder):
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--no-proxy-server", "--window-size=1280,900", "--remote-debugging-port=0", "--remote-allow-origins=*",
            f"--user-data-dir={folder}", "about:blank",
        ]
        try:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            sys.exit("chromium is missing; `make test` installs the package chromium")
        try:
            self.connect(folder)
        except BaseException:
            self.close()
            raise

    def connect(self, folder):
        port = wait_for(lambda: read_port(os.path.join(folder, "DevToolsActivePort")), "the browser to listen")
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.socket = websocket.create_connection(address, timeout=30)
        self.number = 0
        self.events = []
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def ask(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, path):
        self.call("Page.navigate", url=f"file://{os.path.abspath(path)}")
        wait_for(lambda: self.ask("document.readyState") == "complete", "the page to load")

    def click(self, x, y):
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, code=0):
        for kind in ["rawKeyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def complaints(self):
        wrong = []
        for event in self.events:
            kind, facts = event["method"], event["params"]
            if kind == "Runtime.exceptionThrown":
                wrong.append(facts["exceptionDetails"])
            if kind == "Log.entryAdded" and facts["entry"]["level"] == "error":
                wrong.append(facts["entry"]["text"])
            if kind == "Network.requestWillBeSent" and not facts["request"]["url"].startswith(("file:", "about:")):
                wrong.append(facts["request"]["url"])
        return wrong

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def read_port(path):
    try:
        return open(path, encoding="ascii").read().splitlines()[0]
    except (FileNotFoundError, IndexError):
        return None


def wait_for(question, what):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    sys.exit(f"waited in vain for {what}")


def expect(found, what):
    if not found:
        sys.exit(f"expected: {what}")


CELL = "document.activeElement.closest('#treemap .cell')"
TRAIL = "[...document.querySelectorAll('#crumbs button')].map(one => one.textContent)"
LARGEST = "document.querySelector('#largest tbody').textContent"


def look(browser, screenshot, package):
    title = browser.ask("document.title")
    expect(title == browser.ask("document.getElementById('name').textContent"), "the title to be the heading")
    expect(len(browser.ask(TRAIL)) == 1, "the treemap to begin at the root")

    # A click opens the cell under the mouse.
    place = browser.ask("""(() => {
        document.getElementById('treemap').scrollIntoView({ block: 'center' });
        const cell = document.querySelector('#treemap .cell:not(.leaf)');
        const box = cell.querySelector('rect').getBoundingClientRect();
        return { x: box.x + box.width / 2, y: box.y + 8, name: cell.dataset.name };
    })()""")
    before = browser.ask(LARGEST)
    browser.click(place["x"], place["y"])
    trail = browser.ask(TRAIL)
    expect(len(trail) == 2 and trail[1].startswith(place["name"]), f"a click to open {place['name']}, not {trail}")
    expect(browser.ask(LARGEST) != before, "the table to follow the treemap")

    # The crumb leads back, and the focus is where it was.
    browser.ask("document.querySelector('#crumbs button').click()")
    expect(len(browser.ask(TRAIL)) == 1, "a crumb to lead back")
    expect(browser.ask(f"{CELL}.dataset.name") == place["name"], "the focus to come back")

    # The keyboard alone: from the top of the page to a cell, into it, about, and out again.
    browser.ask("document.activeElement.blur(); window.scrollTo(0, 0)")
    for _ in range(40):
        browser.press("Tab", 9)
        if browser.ask(f"document.activeElement.matches('[role=tab]')"):
            break
    expect(browser.ask("document.activeElement.matches('[role=tab]')"), "Tab to reach the views")
    browser.press("ArrowRight", 39)
    selected = "document.querySelector('[role=tab][aria-selected=true]').textContent"
    expect(browser.ask(selected) == "By package", "an arrow to choose the next view")
    for _ in range(5):
        browser.press("Tab", 9)
        if browser.ask(f"Boolean({CELL})"):
            break
    expect(browser.ask(f"Boolean({CELL})"), "Tab to reach the treemap")
    first = browser.ask(f"{CELL}.dataset.name")
    browser.press("ArrowRight", 39)
    moved = browser.ask(f"{CELL}.dataset.name")
    if moved == first:
        browser.press("ArrowDown", 40)
        moved = browser.ask(f"{CELL}.dataset.name")
    expect(moved != first, "an arrow to move to another cell")
    browser.press("Home", 36)
    browser.press("Enter", 13)
    expect(len(browser.ask(TRAIL)) == 2, "Enter to open a cell")
    browser.press("Backspace", 8)
    expect(len(browser.ask(TRAIL)) == 1, "Backspace to lead back")
    expect(browser.ask(f"{CELL}.dataset.name") == first, "the focus to come back")

    # The view by lines of the recipe: the block of packages, and in it what it asks for.
    browser.ask("document.querySelectorAll('[role=tab]')[2].click()")
    lines = browser.ask("[...document.querySelectorAll('#treemap .cell')].map(one => one.dataset.name)")
    expect(any(line.startswith('packages "debian" (') for line in lines), f"the lines of the recipe, not {lines[:9]}")
    browser.ask("document.querySelector('#treemap .cell').focus()")
    browser.press("Home", 36)
    browser.press("Enter", 13)
    expect(browser.ask(TRAIL)[-1].startswith('packages "debian" ('), f"the largest line to open, not {browser.ask(TRAIL)}")
    expect("for openssh-server" in browser.ask(LARGEST), f"what a package brings along, not {browser.ask(LARGEST)}")
    browser.ask("document.querySelectorAll('[role=tab]')[0].click()")

    # Every cell says what it is to those who do not see it.
    unnamed = "[...document.querySelectorAll('#treemap .cell')].filter(one => !one.getAttribute('aria-label') || !one.getAttribute('role')).length"
    expect(browser.ask(unnamed) == 0, "every cell to have a name and a role")
    expect(browser.ask("document.querySelectorAll('#treemap [tabindex=\"0\"]').length") == 1, "one stop for Tab in the treemap")

    # The search finds the package and hides the others.
    rows = "document.querySelectorAll('#bill-table tbody tr').length"
    everything = browser.ask(rows)
    browser.press("/", 191)
    expect(browser.ask("document.activeElement.id") == "search", "a slash to lead to the search")
    browser.call("Input.insertText", text=package)
    names = "[...document.querySelectorAll('#bill-table tbody tr')].map(row => row.cells[0].firstChild.textContent)"
    found = browser.ask(names)
    expect(package in found, f"the search to find {package} among {found}")
    expect(len(found) < everything, "the search to leave others out")
    expect(browser.ask("document.getElementById('found').textContent").startswith(f"{len(found)} of"), "the count to follow")
    browser.ask("(() => { const box = document.getElementById('search'); box.value = ''; box.dispatchEvent(new Event('input')); })()")
    expect(browser.ask(rows) == everything, "an empty search to show everything")
    browser.ask("document.querySelectorAll('#bill-table th button')[4].click()")
    expect(browser.ask("document.querySelector('#bill-table th[aria-sort]').cellIndex") == 4, "a heading to sort")

    # In the dark, and on paper.
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    light = browser.ask(paper)
    picture = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
    with open(screenshot, "wb") as file:
        file.write(base64.b64decode(picture["data"]))
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    expect(browser.ask(paper) != light, "a dark page where that is preferred")
    browser.call("Emulation.setEmulatedMedia", media="print")
    expect(browser.ask("getComputedStyle(document.getElementById('views')).display") == "none", "no buttons on paper")
    printed = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    expect(printed.startswith(b"%PDF") and len(printed) > 20000, "pages of paper")
    print(f"{title}: {everything} components, {len(printed)} bytes of paper")


def hostile(browser):
    expect(browser.ask("typeof window.hostile") == "undefined", "no program of a name to run")
    expect(browser.ask("document.querySelectorAll('script').length") == 2, "the page's two scripts and no other")
    expect(browser.ask("document.querySelectorAll('img, iframe, a[href^=javascript]').length") == 0, "no markup of names")
    shown = browser.ask("document.body.innerText")
    expect("<script>" in shown and "<img" in shown, "hostile names to be shown as they are")
    print("hostile names are text")


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    browser = Browser(folder)
    try:
        if sys.argv[1] == "--hostile":
            browser.open(sys.argv[2])
            hostile(browser)
        else:
            browser.open(sys.argv[1])
            look(browser, *sys.argv[2:])
        expect(not browser.complaints(), f"no complaint of the browser, found {browser.complaints()[:3]}")
    finally:
        browser.close()
