"""A user's own pairs of photographs: figures against whatever truth lies beside them (`run`, `report`), distances by a
feature model that the user names, and folders of pairs whose truth is exact (`make`)."""
