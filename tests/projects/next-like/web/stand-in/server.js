// The server of the standalone output: its address and port are in HOSTNAME and PORT.
process.chdir(__dirname);
const send = require("send");

require("node:http")
  .createServer((request, response) => {
    const url = request.url.split("?")[0];
    // As a redirect of Next.js' middleware, which knows the site by the address that it listens at.
    if (url === "/old") return response.writeHead(307, { Location: `https://localhost:${process.env.PORT}/new` }).end();
    if (url.startsWith("/_next/static/")) return send(response, `.next${url.slice(6)}`);
    send(response, url === "/robots.txt" ? "public/robots.txt" : ".next/server/page.html", process.env.API_URL);
  })
  .listen(process.env.PORT, process.env.HOSTNAME);
