fetch("/api/notes");
