import { useEffect, useState } from "react";
import { companies, isLoggedIn, logIn, logOut } from "./api.js";

// Real paths, without a router: the server answers each with this page.
const PAGES = { "/": Home, "/login": Login, "/companies": Companies };

export function App() {
  const [path, setPath] = useState(window.location.pathname);
  useEffect(() => {
    const follow = () => setPath(window.location.pathname);
    window.addEventListener("popstate", follow);
    return () => window.removeEventListener("popstate", follow);
  }, []);
  const go = (to) => {
    window.history.pushState(null, "", to);
    setPath(to);
  };
  const Page = PAGES[path] ?? NotFound;
  return (
    <>
      <header>
        <Link to="/" go={go} className="brand">CodeMentee</Link>
        <nav>
          {isLoggedIn() ? (
            <>
              <Link to="/companies" go={go}>Companies</Link>
              <button className="plain" onClick={() => { logOut(); go("/"); }}>Log out</button>
            </>
          ) : (
            <Link to="/login" go={go}>Log in</Link>
          )}
        </nav>
      </header>
      <main>
        <Page go={go} />
      </main>
    </>
  );
}

function Link({ to, go, children, ...rest }) {
  const follow = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return <a href={to} onClick={follow} {...rest}>{children}</a>;
}

function Home({ go }) {
  return (
    <section className="hero">
      <h1>Prepare for the interview that matters</h1>
      <p>Mentors from the companies you like, mock interviews, and honest feedback.</p>
      <button onClick={() => go(isLoggedIn() ? "/companies" : "/login")}>See the companies</button>
    </section>
  );
}

function Login({ go }) {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    setBusy(true);
    try {
      await logIn(form.get("email"), form.get("password"));
      go("/companies");
    } catch (problem) {
      setError(problem.message);
      setBusy(false);
    }
  };
  return (
    <form className="card" onSubmit={submit}>
      <h1>Log in</h1>
      <label>E-mail <input name="email" type="email" autoComplete="username" required /></label>
      <label>Password <input name="password" type="password" autoComplete="current-password" required /></label>
      {error && <p role="alert">{error}</p>}
      <button disabled={busy}>{busy ? "One moment" : "Log in"}</button>
    </form>
  );
}

function Companies({ go }) {
  const [list, setList] = useState(null);
  const [error, setError] = useState("");
  useEffect(() => {
    if (!isLoggedIn()) return go("/login");
    companies().then(setList, (problem) => (isLoggedIn() ? setError(problem.message) : go("/login")));
  }, []);
  if (error) return <p role="alert">{error}</p>;
  if (!list) return <p>Loading the companies</p>;
  return (
    <>
      <h1>{list.length} companies</h1>
      <ul className="grid">
        {list.map(({ name, city }) => (
          <li key={name} className="card"><strong>{name}</strong><span>{city}</span></li>
        ))}
      </ul>
    </>
  );
}

function NotFound({ go }) {
  return <p>There is no such page. <Link to="/" go={go}>Back to the start</Link></p>;
}
