document.title = "Longhaul";
