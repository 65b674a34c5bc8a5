// An HTTP client of Node.  Arguments: name, address, port, kind: `node` or `node-download`.
// It prints and obeys what workload.py describes; Node's event loop waits in epoll.
"use strict";
const http = require("http");
const [name, address, port, kind] = process.argv.slice(2);
const OP_MS = 50;
const STEP_EVERY_MS = 200;
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let steps = 0, printed = 0, idle = null;

function emit(event) {
  process.stdout.write(JSON.stringify(event) + "\n");
}

function step() {
  steps += 1;
  if (Date.now() - printed >= STEP_EVERY_MS) {
    printed = Date.now();
    emit({ step: steps });
  }
}

function op(begin) {
  if (Date.now() - begin >= OP_MS) emit({ op: [begin, Date.now()] });
}

function later() {
  if (idle === null) return setTimeout(ask, 20 + Math.random() * 80);
  const seconds = idle;
  idle = null;
  emit({ fault: "idle", at: Date.now() });
  setTimeout(() => { emit({ healed: "idle", at: Date.now() }); ask(); }, seconds * 1000);
}

function ask() {
  const path = kind === "node-download" ? "/stream" : "/work";
  let begin = Date.now();
  const request = http.get({ host: address, port, path, agent, headers: { "X-Client": name } }, (reply) => {
    reply.on("data", () => {
      op(begin);
      begin = Date.now();
      if (path === "/stream") step();
    });
    reply.on("end", () => { step(); later(); });
    reply.on("error", () => {});
  });
  request.on("error", () => setTimeout(ask, 200));
}

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [word, seconds] = line.split(" ");
  if (word === "idle") idle = Number(seconds);
}).on("close", () => process.exit(0));
emit({ ready: true });
ask();
