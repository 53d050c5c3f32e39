import { useState } from "react";
import { Form } from "react-router";

const api = process.env.API_URL || "http://localhost:8000";

export async function loader() {
  return { notes: await (await fetch(`${api}/api/notes`)).json() };
}

export async function action({ request }) {
  const form = await request.formData();
  await fetch(`${api}/api/notes/${form.get("text")}`, { method: "POST" });
  return null;
}

export default function Home({ loaderData }) {
  const [clicked, click] = useState(0);
  return (
    <main>
      <h1>page 1</h1>
      <button onClick={() => click(clicked + 1)}>clicked {clicked}</button>
      <ul>
        {loaderData.notes.map((note) => (
          <li key={note}>{note}</li>
        ))}
      </ul>
      <Form method="post">
        <input name="text" />
      </Form>
    </main>
  );
}
