// Gives MongoDB its users, by Slipway. Run by mongosh, with its passwords in files beside it; ends with 3 where it has
// no right to: then neither a password lets the administrator in, nor is there no user yet, which MongoDB lets whoever
// is on this host make the first one.
// https://www.mongodb.com/docs/manual/core/localhost-exception/
const fs = require("fs");
const wanted = (name) => fs.readFileSync(`${__dirname}/${name}`, "utf8");
const admin = connect(process.env.URL);

function logIn() {
  // The password that it is to have, and the one that it had.
  for (const file of [`${__dirname}/{{ admin.secret }}`, "{{ admin_folder }}/{{ admin.secret }}"]) {
    try {
      admin.auth("{{ admin.name }}", fs.readFileSync(file, "utf8"));
      return true;
    } catch (error) {}
  }
  return false;
}

function give(database, user, password, roles) {
  const rights = { pwd: password, roles: roles, mechanisms: ["SCRAM-SHA-256"] };
  const its = admin.getSiblingDB(database);
  try {
    its.createUser({ user: user, ...rights });
  } catch (error) {
    if (error.code !== 51003) throw error; // it is there
    its.updateUser(user, rights);
  }
}

const isIn = logIn();
try {
  give("{{ admin.database }}", "{{ admin.name }}", wanted("{{ admin.secret }}"), {{ admin.roles | tojson }});
} catch (error) {
  if (isIn || error.code !== 13) throw error;
  quit(3);
}
if (!logIn()) throw new Error("MongoDB refuses the password that it was just given");
{% for user in backends %}
give("{{ user.database }}", "{{ user.name }}", wanted("{{ user.secret }}"), {{ user.roles | tojson }});
{% endfor %}
