const { readFileSync } = require("node:fs");

module.exports = (response, file, api = "") => response.end(readFileSync(file, "utf8").replace("SERVER", api));
