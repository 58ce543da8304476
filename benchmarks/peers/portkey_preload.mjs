// Loaded before Portkey's gateway (node --import). Two things:
//
// - It listens on 127.0.0.1 alone; by itself it listens on every address of the machine.
// - Newer Node versions do not let anybody change the headers of a Response that fetch gave back, and this
//   version of the gateway does, in its streams: each would end in HTTP 500 ("immutable"). A stream's Response is
//   made again around the same body, with headers that may be changed; whole answers, which the gateway copies by
//   itself, are left as they are, since for them this would cost a tenth more.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  if (typeof port !== "number") return listen.call(this, port, ...rest);
  return listen.call(this, port, "127.0.0.1", ...rest.filter((each) => typeof each === "function"));
};

const fetched = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const answer = await fetched(...request);
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) return answer;
  return new Response(answer.body, {
    status: answer.status,
    statusText: answer.statusText,
    headers: new Headers(answer.headers),
  });
};
