"""What a comparison leaves behind for people: the table, the files, the picture grid."""
