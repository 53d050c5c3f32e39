export default { build: { sourcemap: false } };
