// The backend, as the pages see it. The token lives as long as the browser's tab.

const TOKEN = "token";

export const isLoggedIn = () => sessionStorage.getItem(TOKEN) !== null;
export const logOut = () => sessionStorage.removeItem(TOKEN);

export async function logIn(email, password) {
  const { token } = await call("/api/auth/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ email, password }),
  });
  sessionStorage.setItem(TOKEN, token);
}

export const companies = () =>
  call("/api/companies", { headers: { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` } });

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("There is no connection to the server.");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    if (response.status === 401) logOut();
    throw new Error(typeof body.detail === "string" ? body.detail : `The server answered ${response.status}.`);
  }
  return body;
}
