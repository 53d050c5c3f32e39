document.getElementById("root").textContent = window.theme;
