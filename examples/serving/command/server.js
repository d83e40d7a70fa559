// Any program that listens on $PORT. Nothing here knows of softlaunch.
const http = require("http");

const score = ({ distance, hour }) => ({ late: 1 / (1 + Math.exp(-(hour - 16) / 3 - distance / 10000)) });

http
  .createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      if (request.method === "GET" && request.url === "/health") return response.end("ok");
      if (request.method !== "POST" || request.url !== "/score") return response.writeHead(404).end();
      let flight;
      try {
        flight = JSON.parse(Buffer.concat(parts));
      } catch (error) {
        return response.writeHead(400).end();
      }
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(score(flight)));
    });
  })
  .listen(process.env.PORT, "127.0.0.1");
