export const API = typeof window === "undefined" ? process.env.API_URL : process.env.NEXT_PUBLIC_API_URL;
