def write_page(page, records, *, quick): pass
