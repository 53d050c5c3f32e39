import { env } from "$env/dynamic/private";

const api = env.API_URL ?? "http://localhost:8000";

export async function load({ fetch }) {
  return { notes: await (await fetch(`${api}/api/notes`)).json() };
}

export const actions = {
  default: async ({ request, fetch }) => {
    const text = (await request.formData()).get("text");
    await fetch(`${api}/api/notes/${text}`, { method: "POST" });
  },
};
