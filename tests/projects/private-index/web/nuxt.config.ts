export default defineNuxtConfig({
  compatibilityDate: "2025-03-01",
  telemetry: false,
  runtimeConfig: { apiBase: "http://localhost:8000", public: { apiBase: "http://localhost:8000" } },
});
