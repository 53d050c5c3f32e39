import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "build",
    // Nginx lets browsers keep /static/ for a year: every name in it carries a hash of its content.
    assetsDir: "static",
    // A strict Content-Security-Policy allows no data: URLs.
    assetsInlineLimit: 0,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8001" } },
});
