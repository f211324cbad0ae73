// A page that tells for how long the machine has been up. GET /health says that it serves. PORT is the port.
"use strict";

const http = require("node:http");
const os = require("node:os");

const port = Number(process.env.PORT || 8080);

function answer(response, status, kind, text) {
  response.writeHead(status, { "Content-Type": `${kind}; charset=utf-8`, "Content-Length": Buffer.byteLength(text) });
  response.end(text);
}

function page() {
  return `<!doctype html>
<title>Up</title>
<h1>Up for ${os.uptime().toFixed(1)} s</h1>
<p>Node.js ${process.version}, user ${process.getuid()}, host ${os.hostname()}.</p>
`;
}

const server = http.createServer((request, response) => {
  if (request.url === "/health") {
    answer(response, 200, "text/plain", "healthy\n");
  } else if (request.url === "/") {
    answer(response, 200, "text/html", page());
  } else {
    answer(response, 404, "text/plain", "no such page\n");
  }
});

server.listen(port, () => console.log(`clock: serving on port ${port}`));
process.on("SIGTERM", () => process.exit(0));
